"""What a dead server left in its folder of temporary files is gone when the next one starts."""

from pathlib import Path

from running import running


def test_a_server_that_is_alone_begins_with_an_empty_temporary_folder(tmp_path: Path) -> None:
    folder = tmp_path / "media" / "tmp"
    folder.mkdir(parents=True)
    (folder / "worker-of-a-dead-process-0").write_bytes(b"a picture that nobody took")
    with running(tmp_path):
        assert list(folder.iterdir()) == []
