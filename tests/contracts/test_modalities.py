"""What every registered modality promises; the laws are in `polymodal.testing`."""

from dataclasses import replace

import pytest

from polymodal.modalities import MODALITIES
from polymodal.modalities.costed import Costed
from polymodal.testing import EXAMPLES, check_modality, find_example
from polymodal.testing.laws import apply_law
from polymodal.testing.modality_checks import COST_LAWS, MODALITY_LAWS
from polymodal.testing.table_laws import change_arguments, check_network_arguments, check_tables_of, expand_costs

FOUND = {name: example for name in MODALITIES if (example := find_example(name)) is not None}
VARIANTS = [
    pytest.param(variant, id=f"{name}-{variant.cost if isinstance(variant, Costed) else 'default'}")
    for name, example in FOUND.items()
    for variant in expand_costs(example)
]
NAMED = {
    "label": replace(EXAMPLES["label"], names=("oak", "elm", "ash", "fir")),
    "vector": replace(EXAMPLES["vector"], center=(1.0, 2.0, 3.0), scale=(1.0, 0.5, 2.0), names=("a", "b", "c")),
}
"""Examples whose every argument matters."""
CHANGED = [
    pytest.param(example, other, id=f"{name}-{number}")
    for name, example in [*FOUND.items(), *NAMED.items()]
    for number, other in enumerate(change_arguments(example))
]


def test_there_is_an_example_of_each():
    if missing := MODALITIES.keys() - FOUND.keys():
        pytest.skip(f"add to polymodal.testing.EXAMPLES: {', '.join(sorted(missing))}")


@pytest.mark.parametrize("law", COST_LAWS)
@pytest.mark.parametrize("modality", VARIANTS)
def test_law_of_each_cost(modality, law):
    apply_law(COST_LAWS[law], repr(modality), modality)


@pytest.mark.parametrize("law", MODALITY_LAWS)
@pytest.mark.parametrize("name", FOUND)
def test_law(name, law):
    apply_law(MODALITY_LAWS[law], repr(FOUND[name]), FOUND[name])


@pytest.mark.parametrize(("one", "other"), CHANGED)
def test_a_table_of_another_schema_is_noticed_and_one_of_other_networks_is_not(one, other):
    apply_law(check_tables_of, f"{one!r} and {other!r}", one, other)


@pytest.mark.parametrize("modality", [*FOUND.values(), *NAMED.values()], ids=lambda modality: type(modality).__name__)
def test_what_only_networks_depend_on_does_not_matter_to_tables(modality):
    apply_law(check_network_arguments, repr(modality), modality)


def test_only_modalities_are_checked():
    with pytest.raises(TypeError, match=r"instance of Modality.*'label'"):
        check_modality("label")
