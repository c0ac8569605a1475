"""The schema of params.yaml: every key, its type and its range; unknown keys are refused."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from pneumonia.errors import UserError

Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
Range = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=2)]

Percentiles = Annotated[list[Annotated[float, Field(ge=0, le=100)]], Field(min_length=2, max_length=2)]


class Section(BaseModel):
    """A part of params.yaml: strict types, no unknown keys, not to be changed once read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Augment(Section):
    """Random changes of the training images; the inline comments of params.yaml say what each does."""

    flip_horizontal: Fraction
    flip_vertical: Fraction
    rotation: Annotated[float, Field(ge=0, le=180)]
    translation: Annotated[float, Field(ge=0, lt=1)]
    scale: Range
    crop_area: Range
    crop_ratio: Range
    brightness: Annotated[float, Field(ge=0, lt=1)]
    contrast: Annotated[float, Field(ge=0, lt=1)]
    equalise: Fraction
    gamma: Annotated[float, Field(ge=0, le=2)]
    blur: Fraction
    sharpen: Fraction
    noise: Fraction
    collimate: Fraction
    erase: Fraction

    @model_validator(mode="after")
    def _ranges_ascend(self) -> "Augment":
        for name in ("scale", "crop_area", "crop_ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [{low:g}, {high:g}]; the first number must not be the larger")
        if self.crop_area[1] > 1:
            raise ValueError(f"crop_area is {self.crop_area}; a crop keeps at most 1, the whole image")
        return self


class Source(Section):
    """Where the images come from."""

    name: Literal["phantom", "kermany", "rsna", "pneumoniamnist", "folder"]
    path: str | None
    labels: str | None
    patients: str | None
    complete: bool
    pneumoniamnist_size: Literal[28, 64, 128, 224]
    phantom_images: Annotated[int, Field(ge=16, le=1_000_000)]
    phantom_seed: Seed

    @model_validator(mode="after")
    def _folder_is_named(self) -> "Source":
        if self.name == "folder" and self.path is None:
            raise ValueError("path is null; with the name folder it must say where your images are")
        return self


class Preprocess(Section):
    """From files to square grey images."""

    size: Annotated[int, Field(ge=16, le=2048)]
    fit: Literal["squash", "pad", "crop"]
    equalise: Literal["none", "histogram", "clahe"]
    window_index: Count
    no_window: Literal["percentiles", "range"]
    percentiles: Percentiles
    frontal_only: bool
    burned_in: Literal["reject", "keep"]
    duplicates: Literal["keep", "reject"]
    pseudonymise: Literal["auto", True, False]
    max_rejected: Fraction

    def wants_pseudonyms(self, source: str) -> bool:
        """Whether names are replaced by keyed hashes; "auto": where the files may carry identities."""
        return source in ("folder", "rsna") if self.pseudonymise == "auto" else self.pseudonymise

    @model_validator(mode="after")
    def _percentiles_ascend(self) -> "Preprocess":
        low, high = self.percentiles
        if low >= high:
            raise ValueError(f"percentiles is [{low:g}, {high:g}]; the first number must be the smaller")
        return self


class Split(Section):
    """Who is in training, validation and test."""

    official: Literal["auto", True, False]
    validation: Literal["drawn", "first"]
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed

    def keeps_official(self, source: str) -> bool:
        """Whether the source's own split is kept; "auto": unless it is only that of one publication."""
        return source != "rsna" if self.official == "auto" else self.official


class Evaluate(Section):
    """How probabilities are read, the threshold's rule and the intervals."""

    flips: bool
    calibration: Literal["none", "temperature", "platt"]
    threshold_rule: Literal["fixed", "youden", "sensitivity"]
    threshold: Fraction
    sensitivity: Annotated[float, Field(gt=0, le=1)]
    bootstrap: Annotated[int, Field(ge=100, le=100_000)]
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    seed: Seed


class Gallery(Section):
    """What the failure gallery shows, and how."""

    worst: Annotated[int, Field(ge=1, le=100)]
    borderline: Annotated[int, Field(ge=0, le=100)]
    colormap: str
    opacity: Fraction


class Training(Section):
    """The hyperparameters of training: the top-level keys of params.yaml."""

    seed: Seed
    arch: str
    pretrained: str
    finetune: Literal["all", "head", "head_then_all"]
    head_epochs: PositiveCount
    backbone_lr_factor: Annotated[float, Field(gt=0, le=1)]
    epochs: PositiveCount
    batch_size: PositiveCount
    optimizer: Literal["sgd", "adam", "adamw"]
    lr: Annotated[float, Field(gt=0, le=10)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"]
    warmup_epochs: Count
    plateau_patience: Count
    gradient_clip: Annotated[float, Field(ge=0)]
    loss: Literal["cross_entropy", "bce"]
    pos_weight: Annotated[float, Field(gt=0)]
    balance: Literal["none", "class_weights", "oversampling"]
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]
    mixup: Annotated[float, Field(ge=0, le=10)]
    average_weights: Annotated[float, Field(ge=0, lt=1)]
    normalise: Literal["data", "imagenet", "image"]
    augment: Augment
    monitor: Literal["val_auroc", "val_accuracy", "val_balanced_accuracy", "val_loss"]
    keep: Literal["best", "last"]
    patience: Count
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    device: Literal["auto", "cpu", "gpu"]
    devices: PositiveCount
    nodes: PositiveCount
    threads: Annotated[int, Field(ge=1, le=1024)]
    deterministic: bool

    @model_validator(mode="after")
    def _keys_agree(self) -> "Training":
        if self.finetune == "head_then_all" and self.head_epochs >= self.epochs:
            raise ValueError(
                f"head_epochs is {self.head_epochs}; with finetune head_then_all it must be below epochs, "
                f"{self.epochs}"
            )
        if self.schedule in ("constant", "cosine") and self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs}; it must be below epochs, {self.epochs}")
        if self.pos_weight != 1 and self.loss != "bce":
            raise ValueError(f"pos_weight is {self.pos_weight:g}; it acts with loss bce only, else keep it 1")
        if self.batch_size % (self.devices * self.nodes):
            raise ValueError(
                f"batch_size is {self.batch_size}; it must be divisible by devices times nodes, "
                f"{self.devices * self.nodes}, of which each takes a part"
            )
        return self


class Params(Training):
    """The whole of params.yaml."""

    source: Source
    preprocess: Preprocess
    split: Split
    evaluate: Evaluate
    gallery: Gallery

    @model_validator(mode="after")
    def _order_is_known(self) -> "Params":
        if self.split.validation == "first" and self.preprocess.wants_pseudonyms(self.source.name):
            raise ValueError(
                "split.validation is first, but pseudonyms have no order; set it to drawn, or "
                "preprocess.pseudonymise to false"
            )
        return self

    @property
    def training(self) -> Training:
        """The top-level keys alone."""
        return Training(**{name: getattr(self, name) for name in Training.model_fields})


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Raises:
        UserError: the file is missing, is no YAML, or has a wrong key, type or value; one line for each.
    """
    return check_params(read_yaml(path), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of keys and values in YAML 1.2, unchecked but for keys that are no text or given twice.

    Raises:
        UserError: the file is missing or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run from the repository's root or restore the file.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; save it in UTF-8.") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Read keys and values in YAML 1.2, as `read_yaml`; `where` names their file in messages.

    Raises:
        UserError: the text holds something else.
    """
    try:
        values = _load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split()).replace(' in "<unicode string>", ', ", in ")
        raise UserError(f"{where} is not valid YAML: {reason}") from None
    if not isinstance(values, dict):
        raise UserError(f"{where} must hold keys and values; restore it from git.")
    return values


def parse_value(text: str) -> Any:
    """Read the value of a setting as params.yaml would: 1e-4 is a number, [0.9, 1.1] a list.

    Raises:
        UserError: it is no YAML.
    """
    try:
        return _load(text)
    except yaml.YAMLError:
        raise UserError(f"the value {text} is not valid YAML; put text with signs in quotes.") from None


def check_params(values: Mapping[str, Any], where: str = "params.yaml") -> Params:
    """Check already parsed values against the schema; `where` names their file in messages.

    Raises:
        UserError: one line for each wrong key, type or value.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        lines = [f"{where}: {_sentence(details)}" for details in error.errors()]
        raise UserError("\n".join(lines)) from None


def _load(text: str) -> Any:
    """Read YAML 1.2.

    Raises:
        yaml.YAMLError: it is none, whatever is wrong with it.
    """
    try:
        return yaml.load(text, Loader=_Yaml12Loader)  # noqa: S506  derived from SafeLoader
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, OverflowError) as error:
        # PyYAML's scanner hands numbers on unchecked: "\Uffffffff" to chr().
        raise yaml.YAMLError(f"{error}") from None


class _Yaml12Loader(yaml.SafeLoader):
    """YAML 1.2 where it matters: 1e-4 is a number; and a key given twice, or that is no text, is an error.

    PyYAML reads YAML 1.1, in which a float needs a dot and 1e-05, as DVC writes it, is a string.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, OverflowError):
            # PyYAML takes a value for what its form or tag says and lets int() or date() complain.
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"a value cannot be read as {kind}", node.start_mark
            ) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            return super().construct_mapping(node, deep)  # says that it is none
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not (isinstance(key, str) and key.isprintable()):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be plain text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


LONGEST = 100


def _whole_number(loader: _Yaml12Loader, node: yaml.ScalarNode) -> int | str:
    """As DVC reads it: 012 is twelve to it and ten to YAML 1.1, 1:30 is text and not ninety."""
    text = str(loader.construct_scalar(node)).replace("_", "")
    if ":" in text:
        return node.value  # type: ignore[no-any-return]
    wrong = ""
    if re.fullmatch(r"[-+]?0[0-9]+", text):
        wrong = f"{node.value} begins with 0; write the number without"
    if len(text) > LONGEST:
        wrong = f"a number has {len(text):,} digits"
    if wrong:
        raise yaml.constructor.ConstructorError(None, None, wrong, node.start_mark)
    return int(text, 0)


_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)
_Yaml12Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^0o[0-7]+$"), ["0"])
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)$"),
    list("-+.0123456789"),
)


def _sentence(details: ErrorDetails) -> str:
    location = [part for part in details["loc"] if isinstance(part, str)]
    key = ".".join(location) + "".join(f"[{part}]" for part in details["loc"] if isinstance(part, int))
    if details["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {_nearest(location)}"
    if details["type"] == "missing":
        return f"the key {key!r} is missing; restore it from git (`git diff params.yaml`)."
    if details["type"] == "value_error":
        prefix = f"{key}." if key else ""
        return f"{prefix}{details['ctx']['error']}."
    value = details["input"]
    shown = "null" if value is None else repr(value)
    return f"{key} is {shown}; it must be {_allowed(details, location)}."


def _nearest(location: list[str]) -> str:
    names = list(_fields(location[:-1]))
    # A key is often typed under a longer or older name: learning_rate, lr_rate, weightdecay.
    matches = difflib.get_close_matches(location[-1], names, n=1, cutoff=0.5)
    if not matches and location[-1].lower() in _ALIASES:
        matches = [_ALIASES[location[-1].lower()]]
    if matches:
        return f"did you mean {'.'.join([*location[:-1], matches[0]])!r}?"
    return f"allowed here: {', '.join(names)}."


_ALIASES = {"learning_rate": "lr", "model": "arch", "architecture": "arch", "bs": "batch_size"}


def _fields(location: list[str]) -> Mapping[str, Any]:
    model: type[BaseModel] = Params
    for part in location:
        model = model.model_fields[part].annotation  # type: ignore[assignment]
    return model.model_fields


def _allowed(details: ErrorDetails, location: list[str]) -> str:
    """Say what the schema allows at this key."""
    field = _fields(location[:-1])[location[-1]]
    kind, limits = field.annotation, list(field.metadata)
    if len(location) < len(details["loc"]):  # inside a list
        kind, *limits = get_args(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(word).lower() for word in get_args(kind))
    if get_origin(kind) is list:
        (limit,) = [_bounds(limits) for _, *limits in [get_args(get_args(kind)[0])]]
        return f"a list of two numbers{limit}, the smaller first"
    if kind in _SECTIONS:
        return "a section of keys"
    return " or ".join(_KINDS[part] for part in get_args(kind) or [kind]) + _bounds(limits)


_SECTIONS = (Augment, Source, Preprocess, Split, Evaluate, Gallery)

_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    NoneType: "null",
}


def _bounds(limits: list[Any]) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    parts = [part for limit in limits for part in getattr(limit, "metadata", None) or [limit]]
    bounds = [
        f"{words[name]} {getattr(part, name):.10g}" for part in parts for name in words if hasattr(part, name)
    ]
    return f", {' and '.join(bounds)}" if bounds else ""
