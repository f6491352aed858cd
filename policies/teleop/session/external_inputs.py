"""What a pipeline needs that no device brings, checked before the session makes a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdstep.errors import ConfigError, nearest_names
from holdstep.policies.teleop.session.config import load_teleop


class ExternalInputs:
    """Turns what the host gives into what a pipeline's leaves take.

    Args:
        specs: of the session, its ``get_external_input_specs()``.
        source_names: leaves that devices feed.
    """

    def __init__(self, specs: Mapping[str, Mapping[str, Any]], source_names: set[str]) -> None:
        self.specs = {name: dict(inputs) for name, inputs in specs.items()}
        self._source_names = source_names
        interface = load_teleop("retargeting_engine.interface")
        self._group_class = interface.TensorGroup
        self._group_classes = (interface.OptionalTensorGroup, interface.TensorGroup)

    def __call__(self, given: Mapping[str, Any]) -> dict[str, dict[str, Any]] | None:
        """The inputs of one step.

        Args:
            given: by leaf, its inputs by name: a ``TensorGroup``, or the value of a group with one
                entry, or a list of the values of its entries. A leaf with a single input may be
                given that input itself. What no leaf wants is ignored.

        Returns:
            ``TensorGroup`` by leaf and input; None if the pipeline wants nothing.

        Raises:
            ConfigError: an input is missing, does not fit, or has the name of a device's source.
        """
        collisions = sorted(self._source_names & given.keys())
        if collisions:
            raise ConfigError(
                f"{collisions[0]!r} is read from a device, so it can't be given as an external "
                "input. Rename the one or the other."
            )
        if not self.specs:
            return None
        return {name: self._leaf(name, spec, given) for name, spec in self.specs.items()}

    def _leaf(self, name: str, spec: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        if name not in given:
            raise ConfigError(
                f"The pipeline's external input {name!r} is missing ({', '.join(spec)})."
                + nearest_names(name, given)
                + f" Given were: {', '.join(map(repr, given)) or 'none'}. Give "
                "PipelinedActions(..., external_inputs=...) all of "
                f"{', '.join(map(repr, self.specs))}."
            )
        values = given[name]
        if not isinstance(values, Mapping) and len(spec) == 1:
            values = {next(iter(spec)): values}
        missing = [key for key in spec if key not in values]
        if missing:
            raise ConfigError(
                f"The pipeline's external input {name!r} lacks {missing[0]!r}; it takes: "
                f"{', '.join(map(repr, spec))}."
            )
        return {key: self._group(f"{name}/{key}", kind, values[key]) for key, kind in spec.items()}

    def _group(self, where: str, kind: Any, value: Any) -> Any:
        if isinstance(value, self._group_classes):
            return value
        entries = value if isinstance(value, list | tuple) else [value]
        if len(entries) != len(kind.types):
            raise ConfigError(
                f"The external input {where!r} has {len(kind.types)} entries "
                f"({', '.join(entry.name for entry in kind.types)}), {len(entries)} were given."
            )
        group = self._group_class(kind)
        try:
            for index, entry in enumerate(entries):
                group[index] = entry
        except (TypeError, ValueError) as error:
            raise ConfigError(f"The external input {where!r} does not fit: {error}") from error
        return group
