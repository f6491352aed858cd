"""What an env's own code hands to its markers now, found out without the env noticing."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import torch

from holdstep.envs.observations import flatten_groups
from holdstep.wrappers.export.computation import Computation
from holdstep.wrappers.export.direct.places import Uses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdstep.envs.contract import Obs
    from holdstep.wrappers.export.direct.answers import MarkedAnswers
    from holdstep.wrappers.export.direct.workflow import DirectWorkflow
    from holdstep.wrappers.export.policies import PolicyNetwork
    from holdstep.wrappers.export.proxies.owners import Route
    from holdstep.wrappers.export.proxies.writes import Write
    from holdstep.wrappers.export.tensors import MemoryKind


class ProbeRun:
    """A run on copies of live values, of which nothing is kept but what markers were given.

    Attributes:
        term: what is running.
        num_rows: of the env.
        writes: targets, in the order in which they were written.
        given: what markers of inputs and constants were given, by connection or name.
        copies: the copy that the env's code saw of each of its tensors, by path.
        uses: that watches which of them are used; None for nobody.
        obs: the observations, by name.
    """

    def __init__(self, num_rows: int) -> None:
        self.term = ""
        self.num_rows = num_rows
        self.writes: list[Write] = []
        self.given: dict[str, torch.Tensor] = {}
        self.copies: dict[str, torch.Tensor] = {}
        self.uses: Uses | None = None
        self.obs: Obs = {}
        self._copied: dict[int, torch.Tensor] = {}
        self._originals: dict[int, torch.Tensor] = {}

    def value(self, route: Route) -> torch.Tensor:
        """A copy of the live value."""
        return route.live().detach().clone()

    def catch(self, write: Write) -> None:
        """Note a target."""
        self.writes.append(write)

    def substitute(self, path: str, tensor: torch.Tensor) -> torch.Tensor:
        """A copy; one for all paths that lead to the same tensor."""
        if id(tensor) not in self._copied:
            copied = tensor.detach().clone()
            self._copied[id(tensor)] = copied
            self._originals[id(copied)] = tensor
        self.copies[path] = self._copied[id(tensor)]
        return self.copies[path]

    def original(self, tensor: torch.Tensor) -> torch.Tensor:
        """The env's own tensor, where one is a copy of it."""
        return self._originals.get(id(tensor), tensor)

    def memory(
        self, name: str, kind: MemoryKind, shape: tuple[int, ...], dtype: torch.dtype
    ) -> torch.Tensor:
        """There are none: markers of memories return what they are given."""
        raise AssertionError(name)

    def remember(self, name: str, value: torch.Tensor) -> None:
        """Nothing is kept."""

    def shared_constant(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """The constant."""
        return value

    def observed(self, term: str, value: torch.Tensor) -> None:
        """Nobody asks."""

    def unwatched(self) -> contextlib.AbstractContextManager[None]:
        """Nothing is watched."""
        return contextlib.nullcontext()


class ProbeListener:
    """Markers return what they are given, and it is noted.

    Args:
        run: that takes the notes.
        answers: that catch targets.
    """

    def __init__(self, run: ProbeRun, answers: MarkedAnswers) -> None:
        self._run = run
        self._answers = answers

    def read(self, connection: str, tensor: torch.Tensor, **meaning: Any) -> torch.Tensor:
        """Note what the marker was given first; the next ones are the same, or refused."""
        self._run.given.setdefault(connection, tensor.detach().clone())
        return self._noted(tensor)

    def fix(self, name: str, tensor: torch.Tensor, nominal: float | None) -> torch.Tensor:
        """Note the env's own tensor where it is one, so that it can be set for a while."""
        self._run.given.setdefault(name, self._run.original(tensor))
        return self._noted(tensor)

    def write(self, connection: str, tensor: torch.Tensor, **meaning: Any) -> torch.Tensor:
        """Catch a target."""
        return self._answers.write(connection, tensor, **meaning)

    def recall(
        self,
        connection: str,
        tensor: torch.Tensor,
        reset: float | Sequence[float] | None,
        kind: MemoryKind,
    ) -> torch.Tensor:
        """What the env keeps."""
        return self._noted(tensor)

    def remember(self, connection: str, tensor: torch.Tensor) -> torch.Tensor:
        """Nothing is kept."""
        return tensor

    def _noted(self, tensor: torch.Tensor) -> torch.Tensor:
        """In memory of its own: what the env's code does with it now is no use of its tensors."""
        uses = self._run.uses
        if uses is None:
            return tensor
        uses.mark(tensor)
        return tensor.clone()


class LiveMarks:
    """Runs an env's code on copies of everything, for what its markers are given.

    Args:
        env: whose code it is.
    """

    def __init__(self, env: DirectWorkflow) -> None:
        self._env = env
        self._made: dict[str, torch.Tensor] | None = None
        self._places: dict[str, str] = {}

    def values(self) -> dict[str, torch.Tensor]:
        """What markers of inputs and constants are given now, by connection or name."""
        run = ProbeRun(self._env.num_envs)
        with self._running(run):
            pass
        return run.given

    def obs(self) -> dict[str, torch.Tensor]:
        """Observations of the env as it is now, by name."""
        run = ProbeRun(self._env.num_envs)
        with self._running(run):
            pass
        return {name: value.detach().clone() for name, value in run.obs.items()}

    def made_attributes(self) -> dict[str, torch.Tensor]:
        """Zeros in the shape of what the env's code makes in its first step, by attribute.

        Isaac Lab's tasks make ``self.actions`` there, so that a fresh env has none.
        """
        if self._made is None:
            self._made = {}  # no second probe in the probe
            before = set(vars(self._env.env))
            with self._running(ProbeRun(self._env.num_envs)):
                after = dict(vars(self._env.env))
            self._made = {
                name: torch.zeros_like(value)
                for name, value in after.items()
                if name not in before and isinstance(value, torch.Tensor)
            }
        return self._made

    def kept(self) -> dict[str, torch.Tensor]:
        """The env's own tensors now, by path; not copies."""
        return self._computation.kept().tensors

    def places(self, paths: Iterable[str]) -> dict[str, str]:
        """Where tensors of the env are used, such as ``_get_observations (task.py:31)``."""
        paths = tuple(paths)
        missing = [path for path in paths if path not in self._places]
        if missing:
            run = ProbeRun(self._env.num_envs)
            run.uses = uses = Uses()
            with self._running(run):
                pass
            for path in missing:
                self._places[path] = uses.place(run.copies.get(path))
        return {path: self._places[path] for path in paths}

    @contextlib.contextmanager
    def _running(self, run: ProbeRun) -> Iterator[None]:
        """The env's code has run once, and its copies are still in place, in a ``with`` block."""
        env = self._env
        device = env.adapter.device
        actions = torch.zeros(env.num_envs, env.num_actions, device=device)
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            self._computation.running(run),
        ):
            with run.uses or contextlib.nullcontext():
                run.obs = flatten_groups(env.env._get_observations())
                env.process_action(run, actions)
                env.apply_action(run)
            yield

    @functools.cached_property
    def _computation(self) -> Computation:
        # There is no policy in it, and no observation group.
        return Computation(self._env, cast("PolicyNetwork", None), {})
