"""The demo and `generate` for what is heard: asked for through the queue, as programs written for fal do."""

import json
from importlib import import_module
from pathlib import Path

import av
import pytest

from calotype.cli.terminal import Failure


def facts(text: str) -> dict[str, str]:
    return {name.strip(): value.strip() for name, _, value in (line.partition("  ") for line in text.splitlines())}


def seconds(path: Path, kind: str) -> float:
    with av.open(str(path)) as file:
        assert getattr(file.streams, kind)
        return file.duration / av.time_base


@pytest.mark.parametrize(
    ("operation", "prompt", "package", "model", "suffix", "balance"),
    [
        (
            "speech", "The train leaves at nine.", "hibari",
            "local/tts (synthetic speech by a small neural model, one English voice)", ".mp3", "0.9995",
        ),
        (
            "music", "calm piano", "av", "local/music (procedural composition, not a neural model)", ".mp3", "0.99",
        ),
        ("avatar", "Hello there.", "ai_edge_litert", "local/avatar (lip-flap preview, not lip-sync)", ".mp4", None),
    ],
)  # fmt: skip
def test_the_demo_speaks_plays_and_lets_a_drawn_face_speak(
    cli, tmp_path: Path, operation: str, prompt: str, package: str, model: str, suffix: str, balance: str | None
) -> None:
    pytest.importorskip(package)
    done = cli("demo", prompt, "--operation", operation, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = facts(done.stdout)
    assert shown["model"] == model
    assert shown["file"].startswith("demo-output/")
    assert shown["file"].endswith(suffix)
    assert seconds(tmp_path / shown["file"], "video" if operation == "avatar" else "audio") > 0.5
    assert "warning" not in shown  # the face was found
    before, after = shown["balance"].removesuffix(" USD after").split(" USD before, ")
    assert before == "1.00"
    assert float(after) < 1
    assert balance is None or after == balance
    assert shown["price"] == f"{round(1 - float(after), 6):g} USD charged"


def test_generate_speaks_and_plays_beside_a_server(beside, tmp_path: Path) -> None:
    pytest.importorskip("hibari")
    said = beside("generate", "Good evening.", "--operation", "speech", "-o", "said.mp3", "--json", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["model"] == "local/tts"
    played = beside(
        "generate", "sad cello", "--model", "local/music", "--seconds", "5", "-o", "played.wav", cwd=tmp_path
    )
    assert played.returncode == 0, played.stderr
    assert seconds(tmp_path / "said.mp3", "audio") > 0.3
    assert 4.5 < seconds(tmp_path / "played.wav", "audio") < 6
    assert (tmp_path / "played.wav").read_bytes().startswith(b"RIFF")
    for wrong in (["--n", "2"], ["--size", "256x256"], ["--seconds", "3"]):
        refused = beside("generate", "no", "--operation", "speech", *wrong, cwd=tmp_path)
        assert refused.returncode == 2
        assert wrong[0] in refused.stderr
    failed = beside("generate", "no", "--operation", "music", "--seconds", "1000", cwd=tmp_path)
    assert failed.returncode == 1
    assert "seconds" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_without_the_extra_the_demo_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    demo_command = import_module("calotype.cli.demo")
    monkeypatch.setitem(demo_command.NEEDS, "speech", ("no_such_package",))
    with pytest.raises(Failure, match=r"no_such_package of the \[local\] extra.*make demo OPERATION=speech"):
        demo_command.demo(operation="speech", folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()
