"""Exported programs of torch (``.pt2``), checked before torch is allowed to read them.

``torch.export.load`` trusts its file: it unpickles parts of it, evaluates its size expressions,
turns its node names into source code, and calls whatever function of ``torch`` (and of the modules
that ``torch`` imports) a node names. So nothing of a file reaches it here that is not known to be
harmless: tensors as plain bytes, calls of aten's operators, names that are identifiers, sizes that
are sums and products. What it does not need (stack traces, sample inputs, guards) is left out.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import torch

from holdstep.errors import ModelFileError
from holdstep.wrappers.export.runtimes.size_expressions import is_harmless

MAX_BYTES = 1 << 31
"""The most that a file may unpack to."""

_PLAIN = (r"archive_format", r"archive_version", r"byteorder", r"version", r"\.data/\w+", r"\.\w+")
_TENSORS = (r"data/weights/weight_\d+", r"data/constants/tensor_\d+")
_CONFIGS = (
    r"data/weights/model_weights_config\.json",
    r"data/constants/model_constants_config\.json",
)
_PROGRAM = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_WORD = re.compile(r"[\w.+-]*", re.ASCII)
_VERSION = re.compile(r"[\w.+<=-]*", re.ASCII)
_OPERATOR = re.compile(r"torch\.ops\.aten\.(\w+)\.\w+", re.ASCII)
_SIZE_OPERATOR = re.compile(
    r"_operator\.(add|sub|mul|floordiv|mod|neg|getitem|eq|ne|lt|le|gt|ge)|torch\.sym_\w+", re.ASCII
)
# Operators of aten that reach out of memory or change what others compute; and, of those that are
# torch's own business (sparse and nested layouts that nothing checks, for example), all but a few.
_HARMFUL = frozenset(
    {"from_file", "save", "manual_seed", "seed", "set_grad_enabled", "to_here", "wait", "warn"}
)
_INTERNAL = re.compile(r"_|sparse_|quantize|set_")
_HARMLESS_INTERNAL = frozenset(
    {
        "_adaptive_avg_pool2d", "_assert_scalar", "_assert_tensor_metadata", "_convolution",
        "_log_softmax", "_native_batch_norm_legit_no_training", "_reshape_alias", "_safe_softmax",
        "_scaled_dot_product_flash_attention_for_cpu", "_softmax", "_thnn_fused_gru_cell",
        "_thnn_fused_lstm_cell", "_to_copy", "_unsafe_view", "_weight_norm_interface",
    }
)  # fmt: skip
_REFUSED_ARGUMENTS = frozenset({"as_operator", "as_custom_obj", "as_graph"})
_CONTAINERS = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict"})
_DROPPED: dict[str, Any] = {"metadata": {}, "guards_code": []}


def vetted_program(data: bytes, *, file: str) -> io.BytesIO:
    """A copy of an exported program in which nothing can run code.

    Args:
        data: what ``torch.export.save`` wrote.
        file: its name, for messages.

    Returns:
        An archive to give to ``torch.export.load``.

    Raises:
        ModelFileError: it is no such file, or holds something that is not known to be harmless.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _copy(archive)
    except _RefusalError as refusal:
        raise ModelFileError(f"{file!r} is not loaded: {refusal}") from None
    except _MALFORMED as error:
        raise ModelFileError(f"{file!r} is no exported program of torch: {error}") from error


_MALFORMED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # compressed in a way that Python does not know
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class _RefusalError(Exception):
    """What was found."""


def _copy(archive: zipfile.ZipFile) -> io.BytesIO:
    if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
        raise _RefusalError(f"it unpacks to more than {MAX_BYTES} bytes.")
    names = archive.namelist()
    root = names[0].partition("/")[0] if names else ""
    copied: set[str] = set()
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", zipfile.ZIP_STORED) as copy:
        for name in names:
            inside = name.removeprefix(f"{root}/")
            if inside == name or inside in copied:
                raise _RefusalError(f"its archive holds {name!r} where that does not belong.")
            copied.add(inside)
            copy.writestr(f"model/{inside}", _vetted_member(archive, name, inside))
    if _PROGRAM not in copied:
        raise _RefusalError("it holds no program. Programs of torch before 2.8 can't be read.")
    result.seek(0)
    return result


def _vetted_member(archive: zipfile.ZipFile, name: str, inside: str) -> bytes:
    if inside == _SAMPLES:
        buffer = io.BytesIO()
        torch.save(((), {}), buffer)
        return buffer.getvalue()
    if inside == _PROGRAM:
        program = json.loads(archive.read(name))
        return json.dumps(_vetted(program, "")).encode()
    if any(re.fullmatch(pattern, inside) for pattern in _CONFIGS):
        config = json.loads(archive.read(name))
        _check_tensors(config)
        return json.dumps(config).encode()
    if any(re.fullmatch(pattern, inside) for pattern in _PLAIN + _TENSORS):
        return archive.read(name)
    raise _RefusalError(f"it holds {inside!r}, which may be code.")


def _check_tensors(config: Any) -> None:
    for name, entry in config["config"].items():
        if entry["use_pickle"] is not False:
            raise _RefusalError(f"its tensor {name!r} is pickled, and unpickling can run code.")
        if not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"]):
            raise _RefusalError(f"its tensor {name!r} lies in {entry['path_name']!r}.")


def _vetted(value: Any, key: str) -> Any:
    """A part of a program, without what is not needed.

    Args:
        value: from JSON.
        key: under which it was found.
    """
    if key in _DROPPED:
        return _DROPPED[key]
    if key in _REFUSED_ARGUMENTS and value:
        raise _RefusalError(f"it passes {key.removeprefix('as_')!r} to an operator.")
    if isinstance(value, dict):
        for name in value:
            _check_text(name, "")
        return {name: _vetted(entry, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [_vetted(entry, key) for entry in value]
    if isinstance(value, str):
        _check_text(value, key)
    return value


def _check_text(text: str, key: str) -> None:
    if key == "target":
        _check_target(text)
    elif key in ("in_spec", "out_spec"):
        for spec in _tree_specs(json.loads(text)):
            _check_spec(spec)
    elif key == "expr_str":
        if not is_harmless(text):
            raise _RefusalError(f"it has {text[:80]!r} for a size.")
    else:
        patterns = {"name": _IDENTIFIER, "torch_version": _VERSION}
        if not patterns.get(key, _WORD).fullmatch(text):
            raise _RefusalError(f"it has {text[:80]!r} for a name.")


def _check_target(target: str) -> None:
    operator = _OPERATOR.fullmatch(target)
    if (
        operator
        and operator[1] not in _HARMFUL
        and (operator[1] in _HARMLESS_INTERNAL or not _INTERNAL.match(operator[1]))
    ):
        return
    if not operator and _SIZE_OPERATOR.fullmatch(target):
        return
    raise _RefusalError(f"it calls {target[:80]!r}, and only operators of aten are allowed.")


def _tree_specs(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for entry in value:
            yield from _tree_specs(entry)
    elif isinstance(value, dict):
        yield value
        yield from _tree_specs(value["children_spec"])


def _check_spec(spec: dict[str, Any]) -> None:
    if spec["type"] not in _CONTAINERS or not re.fullmatch(r'[\w\[\]", .-]*', str(spec["context"])):
        raise _RefusalError(f"its inputs or outputs are a {spec['type']!r}.")
