"""A folder appears whole or not at all, and never over somebody's files."""

from __future__ import annotations

import pytest

from holdstep.errors import ConfigError
from holdstep.wrappers.export.out_folder import check_out_folder, out_folder


def write_export(folder, text):
    (folder / "contract.yaml").write_text(text)
    (folder / f"{text}.onnx").write_text(text)


def fail(target, text, error, *, overwrite):
    with out_folder(target, overwrite=overwrite) as folder:
        write_export(folder, text)
        raise error


def test_it_appears_when_all_is_written(tmp_path):
    target = tmp_path / "deep" / "export"
    with out_folder(target, overwrite=False) as folder:
        write_export(folder, "one")
        assert not target.exists()
        written = folder.stat().st_ino
    assert target.stat().st_ino == written  # renamed in one go, and not copied file by file
    assert sorted(path.name for path in target.iterdir()) == ["contract.yaml", "one.onnx"]
    assert [path.name for path in target.parent.iterdir()] == ["export"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_nothing_and_keeps_what_was_there(tmp_path, error):
    target = tmp_path / "export"
    with pytest.raises(error):
        fail(target, "one", error, overwrite=False)
    assert not list(tmp_path.iterdir())
    with out_folder(target, overwrite=False) as folder:
        write_export(folder, "two")
    with pytest.raises(error):
        fail(target, "three", error, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert (target / "contract.yaml").read_text() == "two"


def test_an_export_is_replaced_whole_and_on_request_only(tmp_path):
    target = tmp_path / "export"
    with out_folder(target, overwrite=False) as folder:
        write_export(folder, "one")
    with pytest.raises(ConfigError, match="overwrite=True"):
        check_out_folder(target, overwrite=False)
    with out_folder(target, overwrite=True) as folder:
        write_export(folder, "two")
    assert sorted(path.name for path in target.iterdir()) == ["contract.yaml", "two.onnx"]


def test_somebody_else_was_quicker(tmp_path):
    target = tmp_path / "export"

    def both():
        with out_folder(target, overwrite=False) as folder:
            write_export(folder, "mine")
            target.mkdir()
            write_export(target, "theirs")

    with pytest.raises(ConfigError, match="an export already"):
        both()
    assert (target / "contract.yaml").read_text() == "theirs"


def test_what_is_no_export_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("meow")
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name, said in (
        ("photos", "other files"),
        ("file", "no folder"),
        ("link", "no folder"),
        ("dangling", "no folder"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_out_folder(tmp_path / name, overwrite=True)
    (tmp_path / "empty").mkdir()
    check_out_folder(tmp_path / "empty", overwrite=False)
