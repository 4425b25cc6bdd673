"""Train the model of level "learned" of a ring-imaging counter, and write it to fastsim/models/rich_alice3.onnx and .json.

    pip install 'fastsim[ml,train]'
    python train/rich.py            # from the top of the repository; some minutes on one core

The sample is made here (train/rich_data.py). Three small networks, each the probabilities of classes given what is known and
what was drawn before: number of hits; then the angle, in steps of its resolution near the true one and wide steps elsewhere;
then the number of hits beside the ring. Maximum likelihood (cross entropy). Uniforms come in as an input and are turned into
numbers by the inverse of the cumulative sum, inside the graph: no random numbers there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import nn

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY)]
from fastsim.detector import load_detector  # noqa: E402
from fastsim.devices.rich_learned import DARKEST, FEATURES, OUTPUTS, bound_to  # noqa: E402
from train.rich_data import Sample, make_sample  # noqa: E402

DETECTOR = load_detector("alice3_v2")
DEVICE = next(device for device in DETECTOR.rich if device.name == "rich")
MOST_HITS = 160  # classes of the numbers of hits
CORE, STEP = 8.0, 0.25  # the angle's steps within +-CORE resolutions
N_CORE = int(2 * CORE / STEP)
N_WIDE = 60  # steps from 0 to the largest angle
LIGHT, NEARBY = FEATURES.index("light"), FEATURES.index("nearby")
NEVER = 1e4  # from a logit
WIDTH = 96  # of the two hidden layers of each network
UNITS = {"log_hits": "", "light": "", "cos_incidence": "", "seen": "", "bend": "rad", "in_band": "", "nearby": ""}
DOCS = {
    "n_photons": "hits of the ring",
    "is_near": "1: `place` is in resolutions from the true angle; 0: in largest angles",
    "place": "of the ring's angle, see is_near",
    "n_beside": "hits in the searched square that are not the ring's",
}


def network(n_in: int, n_out: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(n_in, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, n_out))


def drawn(logits: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Class (rows, 1) that a uniform stands for, and where in it (0 to 1)."""
    p = torch.softmax(logits, dim=1)
    above = torch.cumsum(p, dim=1)
    above = above / above[:, -1:]  # 1 but for rounding
    k = torch.clamp((above < u).float().sum(dim=1, keepdim=True), max=float(logits.shape[1] - 1))
    own = torch.gather(p, 1, k.long())
    rest = (u - (torch.gather(above, 1, k.long()) - own)) / torch.clamp(own, min=1e-9)
    return k, torch.clamp(rest, 0.0, 1.0)


class RingModel(nn.Module):
    """Features (rows, 7), scaled, and uniforms (rows, 3) to the four OUTPUTS.

    `mean` and `scale` are those of the features.
    """

    def __init__(self, mean: np.ndarray, scale: np.ndarray) -> None:
        super().__init__()
        zeros = -torch.tensor(mean / scale, dtype=torch.float32)
        darkest = torch.tensor((DARKEST - mean[LIGHT]) / scale[LIGHT], dtype=torch.float32)
        self.register_buffer("dark", zeros[LIGHT])
        self.register_buffer("black", darkest + 1e-5)
        self.register_buffer("alone", zeros[NEARBY] + 1e-5)
        self.register_buffer("some", torch.cat([torch.zeros(1), torch.ones(MOST_HITS - 1)]))
        self.register_buffer("core", torch.cat([torch.ones(N_CORE), torch.zeros(N_WIDE)]))
        n = len(FEATURES)
        self.hits = network(n, MOST_HITS)
        self.angle = network(n + 2, N_CORE + N_WIDE)
        self.beside = network(n + 2, MOST_HITS)

    @staticmethod
    def with_hits(x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        """Features and the number of hits, in two scales."""
        return torch.cat([x, n / 20.0, torch.log1p(n)], dim=1)

    def numbers(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of the number of hits: none without light of any colour, own or of neighbours."""
        is_black = (features[:, LIGHT : LIGHT + 1] <= self.black).float() * (
            features[:, NEARBY : NEARBY + 1] <= self.alone
        ).float()
        return self.hits(features) - NEVER * is_black * self.some

    def angles(self, features: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
        """Logits of the angle: without light at the mean index there is no true angle to be near to."""
        is_dark = (features[:, LIGHT : LIGHT + 1] <= self.dark).float()
        return self.angle(more) - NEVER * is_dark * self.core

    def forward(self, features: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Draw a ring."""
        n, _ = drawn(self.numbers(features), uniforms[:, 0:1])
        more = self.with_hits(features, n)
        k, rest = drawn(self.angles(features, more), uniforms[:, 1:2])
        is_near = (k < N_CORE).float()
        near = (k + rest) * STEP - CORE
        wide = (k - N_CORE + rest) / N_WIDE
        beside, _ = drawn(self.beside(more), uniforms[:, 2:3])
        return torch.cat([n, is_near, is_near * near + (1.0 - is_near) * wide, beside], dim=1)


def targets(sample: Sample, largest: float) -> tuple[np.ndarray, ...]:
    """Features, classes of hits, of the angle (-1 without a ring) and of hits beside, of tracks that were measured."""
    rows = sample.rings.is_measured
    known, rings = sample.known, sample.rings
    n = rings.n_photons[rows].astype(np.int64)
    angle, theta = rings.angle[rows], known.theta[rows]
    sigma = np.sqrt(known.photon[rows] / np.maximum(n, 1) + known.common[rows])
    with np.errstate(invalid="ignore", divide="ignore"):
        pull = (angle - theta) / sigma
        core = np.floor((pull + CORE) / STEP)
        wide = N_CORE + np.clip(np.floor(angle / largest * N_WIDE), 0, N_WIDE - 1)
        classes = np.where((theta > 0.0) & (np.abs(pull) < CORE), core, wide)
    place = np.where(rings.has_ring[rows], np.nan_to_num(classes), -1).astype(np.int64)
    beside = np.minimum(sample.n_beside[rows], MOST_HITS - 1)
    x = known.features[rows]
    impossible = (
        (x[:, LIGHT] <= DARKEST) & (x[:, NEARBY] == 0.0) & (n > 0)
    )  # by blue light of a neighbour: the model has it not
    hits = np.where(impossible, -1, np.minimum(n, MOST_HITS - 1))
    print(f"{len(n)} tracks, {impossible.sum()} with hits that cannot be")  # noqa: T201
    return x, hits, place, beside


def train(model: RingModel, x: torch.Tensor, classes: list[torch.Tensor], epochs: int) -> RingModel:
    """Cross entropy of the three networks, Adam, the rate falling as a cosine; the last tenth of the rows is for validation."""
    n = len(x) * 9 // 10
    size = 4096
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (n // size))
    loss_of = nn.CrossEntropyLoss(ignore_index=-1)

    def losses(rows: torch.Tensor) -> list[torch.Tensor]:
        features = x[rows]
        more = model.with_hits(features, classes[0][rows, None].clamp(min=0).float())
        found = model.numbers(features), model.angles(features, more), model.beside(more)
        return [loss_of(logits, target[rows]) for logits, target in zip(found, classes, strict=True)]

    for epoch in range(epochs):
        start = time.perf_counter()
        model.train()
        for rows in torch.randperm(n)[: n // size * size].reshape(-1, size):
            optimizer.zero_grad()
            sum(losses(rows)).backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            held = [round(float(loss), 4) for loss in losses(torch.arange(n, len(x)))]
        print(f"epoch {epoch + 1}: held-out losses {held}, {time.perf_counter() - start:.1f} s", flush=True)  # noqa: T201
    return model.eval()


def export(model: RingModel, x: np.ndarray, mean: np.ndarray, scale: np.ndarray, stem: Path, origin: str) -> None:
    """The graph (opset 17) and its sidecar."""
    path = stem.with_suffix(".onnx")
    example = torch.zeros(3, len(FEATURES)), torch.full((3, 3), 0.5)
    torch.onnx.export(
        model, example, str(path), input_names=["features", "uniforms"], output_names=["ring"], opset_version=17,
        dynamic_axes={name: {0: "rows"} for name in ("features", "uniforms", "ring")}, dynamo=False,
    )  # fmt: skip
    features = [
        {
            "name": name, "unit": UNITS[name], "mean": float(mean[k]), "scale": float(scale[k]),
            "low": float(x[:, k].min()), "high": float(x[:, k].max()), "outside": "clamp",
        }
        for k, name in enumerate(FEATURES)
    ]  # fmt: skip
    sidecar = {
        "schema_version": 1,
        "name": stem.name,
        "description": "Rings of ALICE 3's barrel aerogel counter (docs/rich.md): what level detailed would find",
        "origin": origin,
        "licence": "BSD-3-Clause",
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "rows": {"table": "track"},
        "variables": {},
        "inputs": [
            {"name": "features", "dtype": "float32", "features": features},
            {"name": "uniforms", "dtype": "float32", "noise": "uniform", "n_noise": 3},
        ],
        "outputs": [
            {
                "name": "ring",
                "dtype": "float32",
                "values": [{"name": name, "unit": "", "doc": DOCS[name]} for name in OUTPUTS],
            }
        ],
        "made_for": bound_to(DEVICE.counter(), DETECTOR.b_z),
    }
    stem.with_suffix(".json").write_text(json.dumps(sidecar, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Make the sample, train, export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=40_000, help="of 40 tracks each")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "fastsim" / "models" / "rich_alice3")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if DEVICE.counter().dark > 0.0:
        sys.exit("train/rich_data.py counts no dark hits: it is for counters without them")
    sample = make_sample(DEVICE, DETECTOR.b_z, given.events, given.seed)
    x, *classes = targets(sample, 1.25 * float(np.arccos(1.0 / DEVICE.index)))
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scaled = torch.tensor((x - mean) / scale, dtype=torch.float32)
    torch.manual_seed(given.seed)
    model = train(RingModel(mean, scale), scaled, [torch.tensor(values) for values in classes], given.epochs)
    origin = (
        f"train/rich.py --events {given.events} --epochs {given.epochs} --seed {given.seed}: {len(x)} tracks of the detailed "
        f"level of fastsim itself (no data of any experiment), torch {torch.__version__.partition('+')[0]}"
    )
    export(model, x, mean, scale, given.out, origin)


if __name__ == "__main__":
    main()
