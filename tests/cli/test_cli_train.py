"""`polyseme train`: the plan, the report, stopping and going on, and everything that can be wrong with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import alice
import pytest
import torch
from alice import events
from click.testing import Result
from typer.testing import CliRunner

import polyseme
from polyseme.cli.main import app
from polyseme.formats.folder import open_model
from polyseme.text.shards import Corpus
from polyseme.training import checkpoint, config, plan
from polyseme.training.plan import wanted_epochs

TESTS = Path(__file__).parents[1]
SMALL = ["--preset", "tiny", "--epochs", "1", "--batch-size", "6", "--log-every", "1", "--threads", "1"]
runner = CliRunner()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Presets that are tiny indeed, trials of no length, and signals as they were."""
    monkeypatch.setattr(plan, "TRIAL_SECONDS", 0.0)
    for name in config.SIZES:
        sizes = alice.TRANSFORMER if "transformer" in name else alice.LSTM
        monkeypatch.setitem(config.SIZES, name, replace(sizes, n_layers=1 if name == "tiny" else 2))
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "a text.txt"
    lines = alice.TEXT.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(lines[:12]) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def tokenized(tmp_path: Path) -> tuple[Path, Path]:
    """Text to train on and text to hold out, a sentence a line."""
    files = tmp_path / "train.txt", tmp_path / "held.txt"
    for file, chosen in zip(files, (alice.sentences()[:30], alice.sentences()[-8:]), strict=True):
        file.write_text("".join(" ".join(words) + "\n" for words in chosen), encoding="utf-8")
    return files


def run(*arguments: object) -> Result:
    return runner.invoke(app, ["train", *map(str, arguments)])


def trained(*arguments: object) -> dict[str, Any]:
    """Runs `train ... --json`; the one object on stdout."""
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def spelled(path: Path) -> str:
    """A path as the program prints it, whatever the locale."""
    return os.fsencode(path).decode("utf-8")


# --- the report


def test_raw_text_in_a_model_out(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "a model"
    done = run(text, "-o", out, *SMALL, "--heldout", "0.2", "--licence", "CC0")
    assert done.exit_code == 0, done.stderr
    shown = " ".join(done.stdout.split())
    for expected in (
        "corpus ", " held out ", "chosen by blocks", "preset tiny: ", " parameters, ", "vocabulary ", "loss full",
        "memory about ", "updates ", "speed ", "words/s in a short trial", "time about ",
        "held-out perplexity forward ", "exact, over ", " targets a direction", "trained ", "updates in 0:",
    ):  # fmt: skip
        assert expected in shown
    assert f"polyseme embed TEXT -o vectors.safetensors --model '{spelled(out)}'" in done.stdout
    assert "words are little to train a language model from nothing" in done.stderr
    assert "`polyseme adapt` moves a trained model" in done.stderr
    assert "static vectors" in done.stderr
    assert "held-out perplexity forward" in done.stderr  # of the validation, as it happens
    model = open_model(out)
    assert (model.card.name, model.card.data, model.card.licence) == ("a model", spelled(text), "CC0")
    assert model.card.recipe.split()[0] == "polyseme"  # then what this process was given
    assert model.text.tokenizer == "ptb"
    assert {path.name for path in out.iterdir()} == {
        "checkpoints", "config.json", "corpus", "curve.html", "log.jsonl", "model.safetensors", "vocab.txt",
    }  # fmt: skip


def test_the_report_for_machines_equals_evaluate(tokenized: tuple[Path, Path], tmp_path: Path) -> None:
    text, held = tokenized
    out = tmp_path / "model"
    report = trained(text, "-o", out, "--tokenized", "--heldout-text", held, *SMALL)
    done = runner.invoke(app, ["evaluate", str(out), str(held), "--tokenized", "--json"])
    assert done.exit_code == 0, done.stderr
    evaluated = json.loads(done.stdout)
    assert report["perplexity"] == pytest.approx(evaluated["perplexity"], rel=1e-6)
    assert report["targets"] == evaluated["targets"] == sum(len(words) + 1 for words in alice.sentences()[-8:])
    end = events(out)[-1]
    assert end["heldout"] == report["perplexity"]
    assert (
        f"mean {report['perplexity']['mean']:.2f} (held-out text, {report['targets']:,}"
        in open_model(out).card.perplexity
    )
    wrote = [out, out / "log.jsonl", out / "curve.html"]
    assert report["wrote"] == [spelled(path) for path in wrote]
    assert all(path.exists() for path in wrote)
    assert (report["updates"], report["rollbacks"], report["stopped"]) == (end["update"], 0, False)
    assert report["targets_per_second"] > 0
    for verb, *more in (("score", held, "--tokenized"), ("generate", "Alice"), ("substitutes", "the [Rabbit] ran")):
        done = runner.invoke(app, [verb, str(out), *map(str, more)])
        assert done.exit_code == 0, done.stderr
    again = trained(text, "-o", out, "--tokenized", "--heldout-text", held, *SMALL, "--resume")
    assert {name: again[name] for name in ("perplexity", "targets", "updates")} == {
        name: report[name] for name in ("perplexity", "targets", "updates")
    }


@pytest.mark.parametrize("arguments", [["--recipe", "published", "--samples", "40"], ["--preset", "transformer-small"]])
def test_other_recipes(arguments: list[str], text: Path, tmp_path: Path) -> None:
    report = trained(text, "-o", tmp_path / "m", *SMALL, *arguments, "--heldout", "0.1")
    assert report["perplexity"]["mean"] > 1
    log = events(tmp_path / "m")[0]
    assert log["loss"] == ("sampled" if "published" in arguments else "full")


def test_text_options_are_the_models(text: Path, tmp_path: Path) -> None:
    options = ["--lang", "en", "--lowercase", "--remove-stop-words", "--stem", "--normalize", "nfkc"]
    trained(text, "-o", tmp_path / "m", *SMALL, *options, "--heldout", "0.2", "--max-characters", "20")
    found = open_model(tmp_path / "m")
    assert (found.text.lowercase, found.text.remove_stop_words, found.text.stem) == (True, True, True)
    assert found.text.normalize == "nfkc"
    assert found.characters is not None
    assert found.characters.max_characters == 20
    (embedding,) = polyseme.load(tmp_path / "m").embed_text("The Rabbits were running.")
    assert embedding.tokens == ("rabbit", "run", ".")


def test_sizes_and_settings_reach_the_network(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    sizes = ["--cells", "12", "--projection", "6", "--layers", "1", "--vocab-size", "50", "--dropout-words", "0.2"]
    trained(text, "-o", out, *SMALL, *sizes, "--heldout", "0.2", "--seed", "3", "--steps", "9", "--clip", "2")
    architecture = open_model(out).bilm.config
    assert (architecture.cell_size, architecture.projection_size, architecture.n_layers) == (12, 6, 1)
    assert architecture.softmax_size == 50
    stored = checkpoint.settings(out)
    assert stored is not None
    settings = stored["training"]
    assert (settings["seed"], settings["steps"], settings["clip_norm"], settings["lanes"]) == (3, 9, 2.0, 6)
    assert settings["dropout"] == {"inputs": 0.1, "outputs": 0.1, "words": 0.2, "state_weights": 0.0}


def test_a_warm_start_begins_with_the_weights_of_a_model(text: Path, tmp_path: Path) -> None:
    first, held_out = tmp_path / "first", ["--heldout", "0.2"]
    trained(text, "-o", first, *SMALL, *held_out)
    nearly_still = ["--start-from", first, "--learning-rate", "1e-9", "--epochs", "1", "--dropout", "0.25"]
    trained(first / "corpus", "-o", tmp_path / "second", *SMALL[2:], *nearly_still)
    before, after = open_model(first), open_model(tmp_path / "second")
    assert after.vocabulary == before.vocabulary
    assert after.bilm.config == replace(before.bilm.config, dropout=0.25)
    tensors = after.bilm.state_dict()
    for name, tensor in before.bilm.state_dict().items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=1e-5, msg=name)
    done = run(first / "corpus", "-o", tmp_path / "third", *SMALL, *nearly_still)
    assert "--preset contradicts --start-from" in done.stderr
    assert not (tmp_path / "third").exists()


# --- the plan


def test_a_vocabulary_of_another_model_is_predicted_word_by_word(tokenized: tuple[Path, Path], tmp_path: Path) -> None:
    train_text, held_out = tokenized
    words = ["<S>", "</S>", "<UNK>", "the", ",", "Alice", "and", "quidditch", "to"]
    (tmp_path / "words.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    trained(
        train_text, "-o", tmp_path / "m", *SMALL, "--tokenized", "--heldout-text", held_out, "--vocab",
        tmp_path / "words.txt",
    )  # fmt: skip
    model = open_model(tmp_path / "m")
    assert model.vocabulary is not None
    assert list(model.vocabulary.words) == words
    assert model.bilm.config.softmax_size == len(words)
    plan = trained(tmp_path / "m" / "corpus", "-o", tmp_path / "n", *SMALL, "--vocab", tmp_path / "words.txt", "--plan")
    running = [word for words in alice.sentences()[:30] for word in words]
    assert plan["unknown_share"] == pytest.approx(sum(word not in words for word in running) / len(running))
    assert plan["vocabulary"] == len(words)
    short = trained(
        tmp_path / "m" / "corpus", "-o", tmp_path / "n", *SMALL, "--vocab", tmp_path / "words.txt", "--vocab-size", "5",
        "--plan",
    )  # fmt: skip
    assert short["vocabulary"] == 5
    done = run(train_text, "-o", tmp_path / "o", *SMALL, "--vocab", tmp_path / "nowhere.txt")
    assert done.exit_code == 1
    assert "nowhere.txt: the vocabulary cannot be read" in done.stderr


def test_a_plan_writes_nothing_but_the_text_which_training_then_takes(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    done = run(text, "-o", out, *SMALL, "--heldout", "0.2", "--plan")
    assert done.exit_code == 0, done.stderr
    assert "updates " in done.stdout
    assert "held-out perplexity" not in done.stdout
    assert [path.name for path in out.iterdir()] == ["corpus"]
    stamp = (out / "corpus" / "corpus.json").stat().st_mtime_ns
    planned = trained(text, "-o", out, *SMALL, "--heldout", "0.2", "--plan")
    report = trained(text, "-o", out, *SMALL, "--heldout", "0.2")
    assert report["updates"] == planned["updates"]
    assert (out / "corpus" / "corpus.json").stat().st_mtime_ns == stamp
    corpus = Corpus.open(out / "corpus")
    assert (planned["words"], planned["targets"]) == (corpus.train.n_words, corpus.train.n_targets)
    assert (planned["preset"], planned["epochs"], planned["samples"]) == ("tiny", 1, 0)
    assert planned["targets_per_second"] > 0
    assert planned["seconds"] == pytest.approx(planned["targets"] / planned["targets_per_second"])
    assert planned["small_text"].startswith(f"{corpus.train.n_words:,} words are little")


def test_other_text_for_a_prepared_folder_is_refused(text: Path, tmp_path: Path) -> None:
    run(text, "-o", tmp_path / "m", *SMALL, "--heldout", "0.2", "--plan")
    for more in (["--lowercase"], ["--heldout", "0.3"], ["--seed", "5"]):
        done = run(text, "-o", tmp_path / "m", *SMALL, "--heldout", "0.2", *more)
        assert done.exit_code == 1
        assert "corpus was prepared from other text or with other options: delete it" in done.stderr


def test_a_plan_of_a_corpus_makes_no_folder(text: Path, tmp_path: Path) -> None:
    prepared = runner.invoke(app, ["prepare", str(text), "-o", str(tmp_path / "corpus"), "--heldout", "0.2"])
    assert prepared.exit_code == 0
    planned = trained(tmp_path / "corpus", "-o", tmp_path / "m", *SMALL, "--plan")
    assert planned["words"] > 100
    assert not (tmp_path / "m").exists()
    trained(tmp_path / "corpus", "-o", tmp_path / "m", *SMALL)
    assert not (tmp_path / "m" / "corpus").exists()


SPEEDS = {"tiny": 4000.0, "small": 1000.0, "medium": 300.0, "original": 100.0}


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each preset has its own width here, and its speed."""
    widths = dict(zip((2, 4, 6, 8), SPEEDS, strict=True))
    for width, name in widths.items():
        monkeypatch.setitem(config.SIZES, name, replace(alice.LSTM, projection_size=width, cell_size=4))
    monkeypatch.setattr(plan, "_speed", lambda run: SPEEDS[widths[run.architecture.projection_size]])


@pytest.mark.usefixtures("speeds")
def test_more_hours_choose_a_larger_network_and_never_less_than_an_epoch(text: Path, tmp_path: Path) -> None:
    targets = trained(text, "-o", tmp_path / "m", "--heldout", "0.2", "--hours", 1, "--plan")["targets"]
    ten = {preset: 10 * targets / speed / 3600 for preset, speed in SPEEDS.items()}  # hours for as many epochs
    for hours, preset, epochs in (
        (1e-9, "tiny", 1),
        (ten["tiny"] * 0.55, "tiny", 5),
        (ten["small"] * 0.99, "tiny", 39),
        (ten["small"] * 1.15, "small", 11),
        (ten["medium"] * 1.01, "medium", 10),
        (ten["original"] * 1.01, "original", 10),
        (1000, "original", plan.MOST_EPOCHS),
    ):
        found = trained(text, "-o", tmp_path / "m", "--heldout", "0.2", "--hours", hours, "--plan")
        assert (found["preset"], found["epochs"]) == (preset, epochs)
        assert found["seconds"] <= hours * 3600 or epochs == 1
        assert found["seconds"] == pytest.approx(epochs * targets / SPEEDS[preset])


def test_how_often_a_text_is_worth_reading() -> None:
    assert [wanted_epochs(words) for words in (1, 10**6, 10**7, 5 * 10**7, 10**8, 10**10)] == [10, 10, 10, 2, 1, 1]


@pytest.mark.usefixtures("speeds")
def test_a_run_for_some_hours_goes_on_with_what_was_chosen(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "m"
    arguments = [text, "-o", out, "--heldout", "0.2", "--hours", "0.0002", "--batch-size", "6", "--log-every", "1"]
    report = trained(*arguments)
    stored = checkpoint.settings(out)
    assert stored is not None
    # The machine is slower now: chosen afresh, it would be another network.
    monkeypatch.setattr(plan, "_speed", lambda _: 1.0)
    again = trained(*arguments, "--resume")
    assert again["updates"] == report["updates"]
    assert checkpoint.settings(out) == stored
    done = run(*arguments, "--resume", "--layers", "3")
    assert done.exit_code == 1
    assert "a run of other sizes than --hours could have chosen" in done.stderr


# --- going on


def test_a_folder_in_use_is_refused_and_the_old_run_stays(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    trained(text, "-o", out, *SMALL, "--heldout", "0.2")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for more in ([], ["--seed", "2"], ["--plan"]):
        done = run(text, "-o", out, *SMALL, "--heldout", "0.2", *more)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "is not empty (it holds " in done.stderr
        assert "pass --resume to go on with the run that is there, or give another folder" in done.stderr
    done = run(text, "-o", out, *SMALL, "--heldout", "0.2", "--learning-rate", "0.5", "--resume")
    assert done.exit_code == 1
    assert "training.learning_rate = 0.001, this run has 0.5" in done.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_run_goes_on_from_its_prepared_text_where_the_text_came_through_a_pipe(tmp_path: Path) -> None:
    lines = "\n".join(alice.TEXT.read_text(encoding="utf-8").splitlines()[:12])
    arguments = ["train", "-", "-o", str(tmp_path / "m"), *SMALL, "--heldout", "0.2", "--json"]
    first = runner.invoke(app, arguments, input=lines)
    assert first.exit_code == 0, first.stderr
    again = runner.invoke(app, [*arguments, "--resume"], input="")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["perplexity"] == json.loads(first.stdout)["perplexity"]


def started(out: Path, text: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, TESTS / "quick_polyseme.py", "train", text, "-o", out, "--heldout", "0.2"]
    options = ["--preset", "tiny", "--epochs", "6", "--batch-size", "6", "--log-every", "1", "--checkpoint-every", "7"]
    return subprocess.Popen(
        [*command, *options, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a whole console")
@pytest.mark.parametrize(("number", "form"), [(signal.SIGINT, "people"), (signal.SIGTERM, "machines")])
def test_ctrl_c_saves_and_the_command_it_prints_goes_on(
    number: signal.Signals, form: str, text: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    more = ["--json"] if form == "machines" else []
    with started(out, text, *more) as program:
        deadline = time.monotonic() + 120
        while not (out / "log.jsonl").exists() or len(events(out)) < 10:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        program.send_signal(number)
        printed, said = program.communicate(timeout=60)
    assert program.returncode == 130, said
    assert "Traceback" not in said
    done = checkpoint.newest(out)
    assert done is not None
    assert done >= 10
    if more:
        report = json.loads(printed)
        assert (report["stopped"], report["updates"]) == (True, done)
        resume = report["next"]
    else:
        assert f"stopped after {done} updates, and saved; go on with:" in printed
        resume = printed.splitlines()[-1].strip()
    assert resume.startswith("polyseme train ")
    assert resume.endswith(" --resume")
    going_on = subprocess.run(
        resume.replace("polyseme", f"{sys.executable} {TESTS / 'quick_polyseme.py'}", 1), shell=True,
        capture_output=True, encoding="utf-8", env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert going_on.returncode == 0, going_on.stderr
    with started(tmp_path / "whole", text) as program:
        program.communicate(timeout=120)
    assert events(out) == events(tmp_path / "whole")
    assert alice.differences(out, tmp_path / "whole") == {}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a whole console")
def test_ctrl_c_twice_ends_at_once_and_says_how_to_go_on(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    with started(out, text, "--batch-size", "1", "--steps", "2000") as program:
        deadline = time.monotonic() + 120
        while not (out / "log.jsonl").exists() or len(events(out)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # Not a third one, and no later: it could meet the interpreter on its way out.
        program.send_signal(signal.SIGINT)
        time.sleep(0.005)
        program.send_signal(signal.SIGINT)
        printed, said = program.communicate(timeout=60)
    assert program.returncode == 130
    assert "Traceback" not in said
    assert "go on with:\n  polyseme train " in said + printed


# --- what can be wrong


@pytest.mark.parametrize(
    ("content", "more", "code", "message"),
    [
        ("", [], 1, "text.txt"),
        ("\n\n  \n", [], 1, "text.txt"),
        ("One sentence alone.\n", [], 1, "none can be held out; give more text, or --heldout-text with other text"),
        (None, [], 1, "no such file"),
        ("fine", ["--preset", "huge"], 2, "'huge' is not one of"),
        ("fine", ["--dropout", "1.5"], 2, "dropout is a share from 0 to below 1, was: 1.5 of inputs"),
        ("fine", ["--heldout", "0"], 2, "--heldout a share above 0, or --heldout-text"),
        ("fine", ["--heldout", "0.7"], 2, "heldout must be a share between 0 and 0.5"),
        ("fine", ["--hours", "2", "--epochs", "3"], 2, "leave --preset, --epochs and --updates out"),
        ("fine", ["--hours", "-1"], 2, "--hours"),
        ("fine", ["--hours", "nan"], 2, "--hours"),
        ("fine", ["--learning-rate", "0"], 2, "learning_rate must be above 0"),
        ("fine", ["--precision", "float8"], 2, "precision must be one of float32, bfloat16"),
        ("fine", ["--loss", "sampled"], 2, "more than half of them cost more than all"),
        ("fine", ["--batch-size", "2", "--accumulate", "3"], 2, "2 lanes cannot be computed in 3 parts"),
        ("fine", ["--preset", "transformer-small", "--cells", "4"], 2, "--cells is for LSTM layers"),
        ("fine", ["--preset", "transformer-small", "--projection", "7"], 2, "must be even"),
        ("fine", ["--device", "abacus"], 2, "device 'abacus'"),
        ("fine", ["--lang", "no such language"], 2, "no tokenizer or language"),
        ("fine", ["--epochs", "0"], 2, "--epochs"),
        ("fine", ["--heldout-text", "missing.txt"], 1, "missing.txt: no such file"),
    ],
)
def test_mistakes_are_one_sentence_with_the_next_step(
    content: str | None, more: list[str], code: int, message: str, tmp_path: Path
) -> None:
    file, out = tmp_path / "text.txt", tmp_path / "model"
    if content is not None:
        fine = alice.TEXT.read_text(encoding="utf-8").splitlines()[:6]
        file.write_text("\n".join(fine) if content == "fine" else content, encoding="utf-8")
    settings = zip(SMALL[::2], SMALL[1::2], strict=True)
    kept = [(name, value) for name, value in settings if name not in more and "--hours" not in more]
    done = run(file, "-o", out, *(each for setting in kept for each in setting), *more)
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit)
    left = {path.name for path in out.iterdir()} if out.exists() else set()
    assert left <= {"corpus"}
    assert not (left and code == 1)  # nothing came of it


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--lowercase"], "--lowercase comes too late"),
        (["--lang", "de"], "--lang comes too late"),
        (["--heldout", "0.1"], "--heldout comes too late"),
        (["--heldout-text", "held.txt"], "--heldout-text comes too late"),
        (["--max-characters", "30"], "--max-characters comes too late"),
        (["more.txt"], "is a prepared corpus: give it alone"),
    ],
)
def test_what_a_prepared_corpus_cannot_be_asked(more: list[str], message: str, text: Path, tmp_path: Path) -> None:
    prepared = runner.invoke(app, ["prepare", str(text), "-o", str(tmp_path / "corpus"), "--heldout", "0.2"])
    assert prepared.exit_code == 0
    done = run(tmp_path / "corpus", *more, "-o", tmp_path / "m", *SMALL)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "m").exists()


def test_a_corpus_without_held_out_text(text: Path, tmp_path: Path) -> None:
    prepared = runner.invoke(app, ["prepare", str(text), "-o", str(tmp_path / "corpus"), "--heldout", "0"])
    assert prepared.exit_code == 0
    done = run(tmp_path / "corpus", "-o", tmp_path / "m", *SMALL)
    assert done.exit_code == 1
    assert "the corpus has no held-out text, so nothing says how well a model does; prepare it again" in done.stderr
    assert not (tmp_path / "m").exists()


def test_tensorboard_without_the_package_is_said_before_work_begins(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polyseme.training.board.find_spec", lambda _: None)
    done = run(text, "-o", tmp_path / "m", *SMALL, "--tensorboard")
    assert done.exit_code == 1
    assert 'pip install "polyseme[train]"' in done.stderr
    assert not (tmp_path / "m").exists()


def test_help_shows_an_example() -> None:
    done = runner.invoke(app, ["train", "--help"])
    assert done.exit_code == 0
    assert "polyseme train books/ -o my-elmo --preset small" in done.stdout
    assert "torchrun --nproc-per-node" in done.stdout
