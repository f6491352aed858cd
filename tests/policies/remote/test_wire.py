"""The codecs: equal to msgpack and NumPy on what is sane, and an error on everything else."""

import contextlib
import io
import struct
import tracemalloc

import msgpack
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from holdstep.errors import ConfigError, MalformedMessageError
from holdstep.policies.remote.groot_wire import groot_writer, read_groot
from holdstep.policies.remote.msgpack_reader import read_message
from holdstep.policies.remote.npy import read_npy
from holdstep.policies.remote.openpi_wire import openpi_writer, read_openpi
from tests.policies.remote import strangers

CODECS = {
    "groot": (groot_writer, read_groot, strangers.groot_bytes, strangers.groot_message),
    "openpi": (openpi_writer, read_openpi, strangers.openpi_bytes, strangers.openpi_message),
}
codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)

dtypes = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="<"),
    npst.unsigned_integer_dtypes(endianness="<"),
    npst.floating_dtypes(endianness="<", sizes=(16, 32, 64)),
)
arrays = npst.arrays(dtypes, npst.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4))
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(max_size=300),
)
keys = st.text(max_size=20)


def trees(leaf):
    return st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=20) | st.dictionaries(keys, inner, max_size=20),
        max_leaves=30,
    )


def same(a, b):
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.tobytes() == b.tobytes()
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def plain(entries):
    return entries


@given(trees(leaves))
def test_reads_what_msgpack_writes(value):
    assert same(read_message(memoryview(msgpack.packb(value)), plain), value)


@pytest.mark.parametrize(
    "value",
    [0, 127, 128, 255, 256, 65535, 65536, 2**32, -1, -32, -33, -128, -129, -32769, -(2**31) - 1]
    + ["x" * n for n in (31, 32, 255, 256, 65536)]
    + [b"x" * n for n in (0, 255, 256, 65536)]
    + [[None] * n for n in (15, 16, 65536)]
    + [{str(i): i for i in range(n)} for n in (15, 16, 65536)],
    ids=lambda value: f"{type(value).__name__}-{value!r:.12}",
)
def test_reads_every_size_of_every_type(value):
    assert same(read_message(memoryview(msgpack.packb(value)), plain), value)


@codecs
@given(value=trees(leaves | arrays))
def test_others_read_what_is_written_and_the_other_way_round(codec, value):
    writer, read, write_theirs, read_theirs = codec
    packed = writer().pack(value)
    assert same(read_theirs(bytes(packed)), value)
    assert same(read(packed), value)
    assert same(read(memoryview(write_theirs(value))), value)


@codecs
@pytest.mark.parametrize("make", [np.asfortranarray, lambda a: a[::-1, ::2], lambda a: a.T])
def test_arrays_of_any_strides_are_written(codec, make):
    writer, read, _, read_theirs = codec
    array = make(np.arange(24.0).reshape(4, 6))
    packed = writer().pack([array])
    assert np.array_equal(read(packed)[0], array)
    assert np.array_equal(read_theirs(bytes(packed))[0], array)


@codecs
@pytest.mark.parametrize(
    "dtype",
    [
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.float32,
        torch.float64,
    ],
    ids=str,
)
def test_tensors_are_written_as_the_arrays_that_they_are(codec, dtype):
    writer, read, _, _ = codec
    tensor = torch.tensor([[0, 1, 1], [1, 0, 1]], requires_grad=False).to(dtype).T
    got = read(writer().pack({"x": tensor}))["x"]
    assert torch.equal(torch.from_numpy(got), tensor)
    assert torch.from_numpy(got).dtype == dtype


def test_a_tensor_that_needs_gradients_is_written():
    got = read_groot(groot_writer().pack(torch.ones(3, requires_grad=True)))
    assert got.tolist() == [1.0, 1.0, 1.0]


@codecs
@pytest.mark.parametrize(
    "value",
    [
        object(),
        np.array([object()]),
        np.zeros(2, "c8"),
        np.zeros(2, "U3"),
        np.zeros(2, "i4,f4"),
        torch.zeros(2, dtype=torch.bfloat16),
        torch.zeros(2, dtype=torch.complex64),
        2**64,
        {1, 2},
    ],
    ids=lambda value: str(getattr(value, "dtype", type(value).__name__)),
)
def test_what_cannot_be_sent_is_refused_before(codec, value):
    with pytest.raises(ConfigError):
        codec[0]().pack({"x": value})


@codecs
def test_an_array_of_bytes_is_not_copied_when_it_is_read(codec):
    writer, read, _, _ = codec
    packed = writer().pack({"x": np.zeros((50, 50), np.uint8)})
    array = read(packed)["x"]
    packed[:] = b"\x07" * len(packed)
    assert (array == 7).all()


@codecs
def test_what_is_read_can_be_a_tensor_without_a_warning(codec, recwarn):
    writer, read, _, _ = codec
    packed = bytes(writer().pack({"pad": "x", "x": np.arange(5, dtype=np.float32)}))
    array = read(memoryview(packed))["x"]  # read-only memory, at an odd address
    assert array.flags.aligned
    assert torch.from_numpy(array).tolist() == [0, 1, 2, 3, 4]
    assert not recwarn.list


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "|b1", "<i8", ">u2", "<f2"])
def test_reads_npy_files_as_numpy_does(dtype, order):
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype, order=order)
    for version in ((1, 0), (2, 0), (3, 0)):
        file = io.BytesIO()
        np.lib.format.write_array(file, array, version=version, allow_pickle=False)
        got = read_npy(memoryview(file.getvalue()))
        assert np.array_equal(got, array)
        assert got.dtype == np.dtype(dtype).newbyteorder("=")


def npy(header, values=b"", version=1):
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + values


def object_npy():
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


HOSTILE_NPY = {
    "objects": object_npy(),
    "no magic": b"PK\x03\x04" * 10,
    "only magic": b"\x93NUMPY",
    "version 9": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", b"1234", 9),
    "longer header than there is": b"\x93NUMPY\x01\x00\xff\xff" + b" " * 20,
    "huge header": npy("{" + " " * 20000, version=2),
    "header of 4 GiB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"{" * 30,
    "code": npy("__import__('os').system('true')"),
    "nested brackets": npy("(" * 5000 + ")" * 4000),
    "huge shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 9), }"),
    "overflow": npy(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296), }"
    ),
    "overflow to the bytes that there are": npy(  # the product is 2**64 + 4
        "{'descr': '|u1', 'fortran_order': False, 'shape': (968973220, 19037413721), }", b"1234"
    ),
    "huge empty": npy(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 999999999999, 999999999999), }"
    ),
    "negative": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }", b"1"),
    "structure": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", b"1234"),
    "datetime": npy("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }", b"12345678"),
    "no itemsize": npy("{'descr': '<U0', 'fortran_order': False, 'shape': (9999999,), }"),
    "too few": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", b"12345678901"),
    "too many": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", b"1234567890123"),
    "many dimensions": npy(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "1, " * 60 + "), }", b"1"
    ),
    "digits": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",), }"),
}


@pytest.mark.parametrize("data", HOSTILE_NPY.values(), ids=HOSTILE_NPY)
def test_hostile_npy_is_refused_and_allocates_nothing(data):
    message = memoryview(msgpack.packb({"__ndarray_class__": True, "as_npy": data}))
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessageError):
            read_groot(message)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def openpi_array(**changes):
    entries = {b"__ndarray__": True, b"data": b"1234", b"dtype": "<f4", b"shape": [1]}
    return msgpack.packb(entries | {key.encode(): value for key, value in changes.items()})


HOSTILE = {
    "empty": b"",
    "never used type": b"\xc1",
    "extension": msgpack.packb(msgpack.ExtType(5, b"pickle")),
    "timestamp": b"\xd6\xff1234",
    "array of 4 billion": b"\xdd\xff\xff\xff\xff" + b"\xc0" * 100,
    "map of 4 billion": b"\xdf\xff\xff\xff\xff" + b"\xc0" * 100,
    "string of 4 GiB": b"\xdb\xff\xff\xff\xff" + b"x" * 100,
    "bytes of 4 GiB": b"\xc6\xff\xff\xff\xff" + b"x" * 100,
    "deep array": b"\x91" * 100_000 + b"\xc0",
    "deep map": b"\x81\xa1a" * 100_000 + b"\xc0",
    "many values": b"\xdd" + (300_000).to_bytes(4, "big") + b"\xc0" * 300_000,
    "two messages": b"\xc0\xc0",
    "bad UTF-8": b"\xa2\xff\xfe",
    "key that is an array": b"\x81\x90\xc0",
    "key that is null": b"\x81\xc0\xc0",
    "key that is not a number": b"\x81" + msgpack.packb(float("nan")) + b"\xc0",
    "the same key twice": b"\x82\xa1a\x01\xa1a\x02",
}
HOSTILE_GROOT = {
    "npy that is a string": msgpack.packb({"__ndarray_class__": True, "as_npy": "x"}),
    "npy that is not there": msgpack.packb({"__ndarray_class__": True}),
}
HOSTILE |= {
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "pickle": b"\x80\x04\x95" + b"\x00" * 40,
}
HOSTILE_OPENPI = {
    "objects": openpi_array(dtype="|O"),
    "structure": openpi_array(dtype="i2,i2"),
    "long dtype": openpi_array(dtype="f4" * 10_000),
    "dtype that is a number": openpi_array(dtype=4),
    "shape that is a number": openpi_array(shape=1),
    "shape of strings": openpi_array(shape=["1"]),
    "shape of floats": openpi_array(shape=[1.0]),
    "shape of booleans": openpi_array(shape=[True]),
    "huge shape": openpi_array(shape=[2**40, 2**40]),
    "negative shape": openpi_array(shape=[-1, -1]),
    "overflow": openpi_array(shape=[2**62 + 1]),
    "too few bytes": openpi_array(data=b"123"),
    "data that are a string": openpi_array(data="1234"),
    "scalar that is a map": msgpack.packb({b"__npgeneric__": True, b"data": {}, b"dtype": "<f4"}),
}
CASES = [(read, data) for data in HOSTILE.values() for read in (read_groot, read_openpi)]
CASES += [(read_groot, data) for data in HOSTILE_GROOT.values()]
CASES += [(read_openpi, data) for data in HOSTILE_OPENPI.values()]
NAMES = [f"{name} {to}" for name in HOSTILE for to in CODECS] + [*HOSTILE_GROOT, *HOSTILE_OPENPI]


@pytest.mark.parametrize(("read", "data"), CASES, ids=NAMES)
def test_hostile_messages_are_refused_and_allocate_nothing(read, data):
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessageError) as raised:
            read(memoryview(data))
        assert tracemalloc.get_traced_memory()[1] < 25_000_000
    finally:
        tracemalloc.stop()
    assert len(str(raised.value)) < 300


@codecs
def test_a_message_that_is_cut_off_anywhere_is_refused(codec):
    writer, read, _, _ = codec
    packed = writer().pack({"a": np.arange(3), "b": ["xyz", 1.5, None], "c": {"d": b"12"}})
    read(packed)
    for end in range(len(packed)):
        with pytest.raises(MalformedMessageError):
            read(packed[:end])


@codecs
@settings(max_examples=300)
@given(data=st.data())
def test_fuzzed_messages_are_read_or_refused(codec, data):
    writer, read, _, _ = codec
    packed = bytearray(writer().pack({"a": np.arange(6).reshape(2, 3), "b": ["xyz", {"c": 1.5}]}))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(packed) - 1))
        packed[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
        if not packed:
            break
    with contextlib.suppress(MalformedMessageError):
        read(memoryview(bytes(packed)))


@codecs
@given(data=st.binary(max_size=200))
def test_noise_is_read_or_refused(codec, data):
    with contextlib.suppress(MalformedMessageError):
        codec[1](memoryview(data))
