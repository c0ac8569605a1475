"""Who is in the synthetic data set: patients, diagnoses, and how each film is stored."""

from dataclasses import dataclass

import numpy as np

from pneumonia.classes import Label
from pneumonia.sources.phantom.files import FILE_KINDS, FileKind
from pneumonia.sources.phantom.opacity import Group

_SHARES: dict[Group, float] = {"normal": 0.5, "consolidation": 0.27, "diffuse": 0.23}
_FILMS_A_PATIENT = (1, 2, 3, 4)
_FILMS_A_PATIENT_SHARES = (0.62, 0.22, 0.11, 0.05)


@dataclass(frozen=True, slots=True)
class Film:
    """One image that is to be drawn."""

    index: int
    """Place in the cohort; with the seed it decides every pixel."""
    file: str
    """Path in the archive."""
    patient: int
    group: Group
    kind: FileKind

    @property
    def label(self) -> Label:
        """The group's class."""
        return "normal" if self.group == "normal" else "pneumonia"

    @property
    def patient_name(self) -> str:
        """As in the label table."""
        return f"P{self.patient:05d}"


def deal_cohort(count: int, seed: int) -> list[Film]:
    """Deal `count` films to patients, and to each film a diagnosis and a way of being stored.

    All films of a patient have one diagnosis. The ways of being stored are dealt among the films of each
    diagnosis in the same shares, so that no network can learn the diagnosis from them.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0, 0]))
    patients: list[int] = []
    groups: list[Group] = []
    dealt = dict.fromkeys(_SHARES, 0)
    patient = 0
    while len(patients) < count:
        films = int(rng.choice(_FILMS_A_PATIENT, p=_FILMS_A_PATIENT_SHARES))
        films = min(films, count - len(patients))
        # The group that lags most behind its share.
        group = max(_SHARES, key=lambda name: _SHARES[name] * (len(patients) + films) - dealt[name])
        dealt[group] += films
        patients += [patient] * films
        groups += [group] * films
        patient += 1
    numbers = 1 + rng.permutation(patient)
    kinds = _deal_kinds(groups, rng)
    seen: dict[int, int] = {}
    cohort = []
    for index, (owner, group, kind) in enumerate(zip(patients, groups, kinds, strict=True)):
        number = int(numbers[owner])
        seen[number] = seen.get(number, 0) + 1
        file = f"films/P{number:05d}-{seen[number]}{kind.suffix}"
        cohort.append(Film(index, file, number, group, kind))
    return sorted(cohort, key=lambda film: film.file)


def _deal_kinds(groups: list[Group], rng: np.random.Generator) -> list[FileKind]:
    kinds: list[FileKind] = [FILE_KINDS[0]] * len(groups)
    shares = np.array([kind.share for kind in FILE_KINDS])
    edges = np.cumsum(shares) / shares.sum()
    for group in _SHARES:
        places = [place for place, name in enumerate(groups) if name == group]
        # Evenly spaced along the shares: rounded shares in a set of any size, then shuffled.
        points = (np.arange(len(places)) + rng.random()) / max(len(places), 1)
        deck = np.searchsorted(edges, rng.permutation(points), side="right")
        for place, kind in zip(places, deck.tolist(), strict=True):
            kinds[place] = FILE_KINDS[min(kind, len(FILE_KINDS) - 1)]
    return kinds
