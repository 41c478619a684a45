// The theme follows the system's setting until the user chooses one.

const KEY = "polymodal-theme";

export function prepareTheme(field) {
  const apply = () => { document.documentElement.dataset.theme = field.value; };
  field.value = localStorage.getItem(KEY) ?? "auto";
  if (!field.value) field.value = "auto";
  apply();
  field.addEventListener("change", () => {
    localStorage.setItem(KEY, field.value);
    apply();
  });
}
