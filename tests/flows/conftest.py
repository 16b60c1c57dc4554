"""A tiny real encoder, a small corpus, stores in memory, and the command line as a process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from embedder.config import EncoderConfig, Precision
from embedder.errors import NonFiniteActivation
from embedder.precision import Stored, quantise
from embedder.specification import specify
from flows.orchestration import API_URL, PrefectAPI
from flows.session import Session, Target
from search.checksums import CHECKSUM
from search.stores.edge import EdgeStore

ROOT = str(Path(__file__).parents[2])

TEXTS: Mapping[str, str] = {
    "lighthouses.md": "# Lighthouses\n\nA lighthouse keeper trims the lamp at dusk.\n\n"
    "## Lenses\n\nA Fresnel lens throws the light of a small flame far over the sea.\n",
    "bread.md": "# Bread\n\nFlour, water, salt and yeast make a loaf.\n\n"
    "## Baking\n\nBake the loaf until its crust sounds hollow.\n",
    "sub/rivers.txt": "A river carries sand from the mountains down to the sea.\n",
    "sub/owls.html": "<html><head><title>Owls</title></head><body><article><p>An owl hunts at "
    "night, and its wings make no sound at all. It sees far better than people do.</p></article>"
    "</body></html>",
}


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers, 32 wide, with a byte-level BPE of 1,000 tokens."""
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    folder.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(TEXTS.values()) * 3, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    vocabulary, wide, layers = tokenizer.get_vocab_size(), 32, 2
    config = {
        "model_type": "llama",
        "architectures": ["LlamaModel"],
        "vocab_size": vocabulary,
        "hidden_size": wide,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(7)
    shapes = {"embed_tokens": (vocabulary, wide)}
    for layer in range(layers):
        shapes |= {
            f"layers.{layer}.{name}": shape
            for name, shape in {
                "self_attn.q_proj": (wide, wide),
                "self_attn.k_proj": (wide // 2, wide),
                "self_attn.v_proj": (wide // 2, wide),
                "self_attn.o_proj": (wide, wide),
                "mlp.gate_proj": (48, wide),
                "mlp.up_proj": (48, wide),
                "mlp.down_proj": (wide, 48),
            }.items()
        }
    weights = {
        f"{name}.weight": 0.25 * random.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    norms = [
        f"layers.{i}.{n}_layernorm" for i in range(layers) for n in ("input", "post_attention")
    ]
    for name in (*norms, "norm"):
        weights[f"{name}.weight"] = np.ones(wide, dtype=np.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_corpus(folder: Path) -> Path:
    """Write `TEXTS` below a folder."""
    for name, text in TEXTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Four documents in three formats, one folder below another."""
    return write_corpus(tmp_path / "notes")


def _scratch() -> str | None:
    """Memory where there is room, for every write to a store is flushed to the disk."""
    memory = Path("/dev/shm")  # noqa: S108 - only looked at
    if memory.is_dir() and shutil.disk_usage(memory).free > 2**31:
        return str(memory)
    return None


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A fast empty folder."""
    with tempfile.TemporaryDirectory(dir=_scratch()) as place:
        yield Path(place)


@pytest.fixture(scope="session")
def session_scratch() -> Iterator[Path]:
    """A fast empty folder for things that are made once."""
    with tempfile.TemporaryDirectory(dir=_scratch()) as place:
        yield Path(place)


@pytest.fixture
def target(scratch: Path, encoder_folder: Path) -> Target:
    """Collection `notes` in a store that does not exist yet."""
    return Target(
        store=str(scratch / "store"),
        collection="notes",
        encoder=str(encoder_folder),
        chunk_tokens=32,
        chunk_overlap=0,
        max_document_mb=1,
        parse_seconds=60.0,
        parse_memory_mb=1024,
    )


@dataclass
class LetterEncoding:
    """What `LetterEncoder` returns: the fields of `embedder.encoder.Encoding`."""

    vectors: Stored
    tokens: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]


class LetterEncoder:
    """A vector counts letters, so that it can be worked out by hand; a text with NaN has none.

    A text with TooLong is cut.
    """

    max_text_tokens = 500
    dimension = 32
    config = EncoderConfig()

    def __init__(self, folder: Path) -> None:
        self.tokenizer_json = (folder / "tokenizer.json").read_text()
        self.calls: list[list[str]] = []

    def encode_with_counts(
        self, texts: Sequence[str], *, prompt_name: str, precision: Precision | None = None
    ) -> LetterEncoding:
        """Count the letters of each text, modulo 32."""
        self.calls.append(list(texts))
        vectors = np.zeros((len(texts), 32), dtype=np.float32)
        for row, text in enumerate(texts):
            if "NaN" in text:
                raise NonFiniteActivation(f"text {row} gave NaN", index=row)
            for letter in text.lower():
                vectors[row, ord(letter) % 32] += 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        counts = np.array([len(text) for text in texts], dtype=np.int64)
        truncated = np.array(["TooLong" in text for text in texts], dtype=np.bool_)
        stored = quantise(vectors, precision or self.config.precision)
        return LetterEncoding(stored, counts, truncated)

    def encode_document(self, texts: Sequence[str], **options: Any) -> Stored:
        """Count the letters."""
        return self.encode_with_counts(texts, prompt_name="document", **options).vectors

    def encode_query(self, texts: Sequence[str]) -> Stored:
        """Count the letters of a query likewise."""
        return self.encode_with_counts(texts, prompt_name="query").vectors


@pytest.fixture
def letters(encoder_folder: Path, monkeypatch: pytest.MonkeyPatch) -> LetterEncoder:
    """In place of the model: every session of the test encodes with it."""
    encoder = LetterEncoder(encoder_folder)
    monkeypatch.setattr("flows.session.load_encoder", lambda specification: encoder)
    return encoder


@pytest.fixture
def open_session(letters: LetterEncoder) -> Iterator[Callable[[Target], Session]]:
    """Opens sessions that count letters, and closes the last before the next."""
    opened: list[Session] = []

    def opener(target: Target) -> Session:
        for session in opened:
            session.close()
        opened.append(Session.open(target))
        return opened[-1]

    yield opener
    for session in opened:
        session.close()


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> PrefectAPI:
    """One Prefect API for all flows of this process; it ends with the process."""
    api = PrefectAPI.start(tmp_path_factory.mktemp("prefect"))
    api.wait()
    assert os.environ[API_URL].startswith("http://127.0.0.1:")
    return api


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be exactly one JSON object on one line."""
        assert self.out.endswith("\n"), self
        assert self.out.count("\n") == 1, self
        parsed = json.loads(self.out)
        assert isinstance(parsed, dict)
        return parsed

    @property
    def complaint(self) -> str:
        """Standard error, which must be exactly one line of ours, without its name."""
        assert self.err.startswith("sextant: "), self
        assert self.err.count("\n") == 1, self
        assert "Traceback" not in self.err
        assert self.out == "", self
        return self.err.removeprefix("sextant: ").rstrip("\n")


NETWORK_GUARD = """
import os, sys

def _guard(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        if not isinstance(address, tuple) or str(address[0]) in ("127.0.0.1", "::1", "localhost"):
            return
        host = address[0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
        if host in (None, "", b"", "localhost", "127.0.0.1", "::1", b"127.0.0.1", b"localhost"):
            return
    else:
        return
    with open(os.environ["NETWORK_LOG"], "a") as log:
        log.write(f"{sys.argv}: {event} {host!r}\\n")
    raise PermissionError(f"no network in this test: {host!r}")

with open(os.environ["NETWORK_LOG"] + ".processes", "a") as log:
    log.write(" ".join(sys.orig_argv) + "\\n")
sys.addaudithook(_guard)
"""


class CommandLine:
    """`sextant` in a process of its own, without network, in a working folder of its own."""

    def __init__(self, folder: Path, network_log: Path) -> None:
        self.folder = folder
        self.network_log = network_log
        guard = network_log.parent / "guard"
        guard.mkdir(exist_ok=True)
        (guard / "sitecustomize.py").write_text(NETWORK_GUARD)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SEXTANT_", "PREFECT_", "HF_"))
            and name.lower() not in ("no_proxy", "http_proxy")
        }
        self.environment = {
            **inherited,
            "PYTHONPATH": os.pathsep.join((str(guard), ROOT)),
            "HOME": str(folder / "home"),
            "HF_HUB_OFFLINE": "1",
            "NETWORK_LOG": str(network_log),
            # a proxy that nobody serves: what asks for the loopback must not ask there
            "http_proxy": "http://127.0.0.1:9",
        }
        (folder / "home").mkdir(exist_ok=True)

    def start(
        self, *arguments: str | Path, program: str = "", **environment: str
    ) -> "subprocess.Popen[str]":
        """Start a command; `program` is Python that runs before it, in its process."""
        source = f"{program}\nfrom flows.cli import main\nmain()\n"
        return subprocess.Popen(
            [sys.executable, "-c", source, *map(str, arguments)],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
            start_new_session=True,
        )

    def __call__(
        self,
        *arguments: str | Path,
        stdin: str = "",
        program: str = "",
        seconds: float = 240.0,
        **environment: str,
    ) -> Run:
        """Run a command to its end."""
        with self.start(*arguments, program=program, **environment) as process:
            try:
                out, err = process.communicate(stdin, timeout=seconds)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return Run(process.returncode, out, err)

    @property
    def violations(self) -> str:
        """What tried to leave the loopback, a line each."""
        return self.network_log.read_text() if self.network_log.exists() else ""

    @property
    def processes(self) -> str:
        """The command lines of all Python processes that were watched."""
        return Path(f"{self.network_log}.processes").read_text()


@pytest.fixture(scope="session")
def network_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every command of the whole test run notes what it must not do."""
    return tmp_path_factory.mktemp("network") / "log"


@pytest.fixture
def sextant(tmp_path: Path, network_log: Path) -> CommandLine:
    """The command line in an empty working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    return CommandLine(folder, network_log)


@dataclass(frozen=True)
class World:
    """A working folder in which a corpus with some bad documents was ingested, once."""

    sextant: CommandLine
    corpus: Path
    store: Path
    ingested: Run


@pytest.fixture(scope="session")
def world(
    network_log: Path,
    session_scratch: Path,
    encoder_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    """For tests that only read: the store and the corpus stay as they are."""
    folder = tmp_path_factory.mktemp("world")
    corpus = write_corpus(folder / "notes")
    (corpus / "latin.txt").write_bytes("Das Caf\u00e9 am Flu\u00df.\n".encode("latin-1"))
    (corpus / "junk.md").write_bytes(bytes(range(256)) * 40)
    with (corpus / "huge.md").open("wb") as huge:
        huge.truncate(50 * 1024 * 1024)
    (corpus / "photo.png").write_bytes(b"png")
    (folder / "sextant.toml").write_text('collection = "notes"\nchunk_tokens = 999\n')
    sextant = CommandLine(folder, network_log)
    store = session_scratch / "store"
    sextant.environment |= {"SEXTANT_STORE": str(store), "SEXTANT_CHUNK_TOKENS": "32"}
    ingested = sextant("ingest", "notes", "--encoder", encoder_folder, "--json")
    return World(sextant, corpus, store, ingested)


@pytest.fixture(scope="session")
def fingerprint(encoder_folder: Path) -> str:
    """The tiny encoder's."""
    return specify(str(encoder_folder)).fingerprint


def _read(target: Target) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.float32]]]:
    """Payloads by id, without what differs from run to run, and vectors by id."""
    store = EdgeStore(target.store)
    payloads, vectors = {}, {}
    try:
        for record in store.open(target.collection).scroll(with_vectors=True):
            metadata = dict(record.payload["metadata"])
            del metadata["run_id"], metadata["ingested_at"]
            payloads[record.id] = {**record.payload, "metadata": metadata}
            payloads[record.id].pop(CHECKSUM, None)  # over the vector's bits, and a head's run
            if record.vector is not None:
                vectors[record.id] = record.vector
    finally:
        store.close()
    return payloads, vectors


@pytest.fixture
def require_same() -> Callable[[Target, Target], None]:
    """Asserts the same ids and payloads, and vectors as near as the order of a sum allows."""

    def require(first: Target, second: Target) -> None:
        payloads, vectors = _read(first)
        other_payloads, other_vectors = _read(second)
        assert payloads == other_payloads
        assert vectors.keys() == other_vectors.keys()
        for name, vector in vectors.items():
            assert np.allclose(vector, other_vectors[name], atol=1e-5)

    return require
