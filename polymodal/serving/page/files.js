// Files that are chosen or dropped.

import { make, newId } from "./dom.js";

// A button that opens the file chooser; files may also be dropped on `area`. `read(file)` may throw an error.
export function makeFileInput(area, text, accept, read) {
  const id = newId("file");
  const problem = make("p", { className: "problem", role: "alert", hidden: true });
  const take = async (file) => {
    problem.hidden = true;
    try {
      await read(file);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
  };
  const field = make("input", {
    type: "file", accept, id, className: "visually-hidden",
    onchange: () => {
      if (field.files.length) take(field.files[0]);
      field.value = "";
    },
  });
  area.addEventListener("dragover", (event) => {
    event.preventDefault();
    area.classList.add("dropping");
  });
  area.addEventListener("dragleave", () => area.classList.remove("dropping"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("dropping");
    const [file] = event.dataTransfer.files;
    if (file) take(file);
  });
  const element = make("div", { className: "file" }, field, make("label", { htmlFor: id, className: "button" }, text), problem);
  return { element };
}
