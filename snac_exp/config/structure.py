"""From plain dictionaries to the dataclasses of the schema, refusing whatever does not fit.

Hydra alone lets `+typo=1` and unknown keys of free-form nodes pass, so the whole composed config is walked once here.
Nothing in this file imports torch: a wrong key is answered before anything slow happens.
"""

import difflib
import types
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from snac_exp.config.loss_terms import target_of_term, term_names
from snac_exp.config.moved import current_name
from snac_exp.config.schema import Component, LossTerm
from snac_exp.config.source_code import find_definition, module_file, parameters_of
from snac_exp.config.trusted_code import check_trusted
from snac_exp.errors import ConfigError

T = TypeVar("T")


def structure(kind: type[T], value: Any, path: str = "") -> T:
    """Build `kind` (a schema dataclass) from nested dictionaries.

    Raises:
        ConfigError: naming the dotted key and the nearest right one, for unknown or missing keys and wrong types.
    """
    result: T = _convert(kind, value, path)
    return result


def nearest(name: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` for what begins so or else the closest choice, else the list of what there is."""
    options = sorted(choices)
    longer = [it for it in options if name and it.startswith(name)]
    close = longer or difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    return f"; choose one of: {', '.join(options) or 'nothing'}"


def _convert(kind: Any, value: Any, path: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if kind is Component:
        return _component(value, path)
    if kind is LossTerm:
        return _loss_term(value, path)
    if is_dataclass(kind):
        return _dataclass(kind, value, path)
    if origin in (Union, types.UnionType):
        if type(None) in arguments and (value is None or value == {}):  # the group's choice `none` is an empty file
            return None
        choices = [part for part in arguments if part is not type(None)]
        # Members of the schema's unions differ in form: a list, a group of keys, a plain value.
        fitting = [part for part in choices if _shape_of(part) is _shape_of(value)]
        return _convert((fitting or choices)[0], value, path)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{path}={value!r} is not valid{nearest(str(value), map(str, arguments))}")
        return value
    if origin is dict:
        return {name: _convert(arguments[1], item, _join(path, name)) for name, item in _mapping(value, path).items()}
    if origin is list:
        return [_convert(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(_sequence(value, path))]
    if origin is tuple:
        items = _sequence(value, path)
        if len(items) != len(arguments):
            raise ConfigError(
                f"{path}={value!r} needs {len(arguments)} entries, like [{', '.join('…' for _ in arguments)}]"
            )
        return tuple(_convert(part, item, path) for part, item in zip(arguments, items, strict=True))
    return _scalar(kind, value, path)


def _shape_of(kind_or_value: Any) -> type | None:
    """list, dict or None for neither: what tells the members of a union apart."""
    if get_origin(kind_or_value) is list or isinstance(kind_or_value, list):
        return list
    return dict if is_dataclass(kind_or_value) or isinstance(kind_or_value, dict) else None


def _scalar(kind: type, value: Any, path: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    # Not isinstance: a bool is an int to Python, and `devices: true` is a mistake.
    if type(value) is not kind:
        hint = " (a number like 5e-5 is written 5.0e-5 in YAML)" if kind is float and isinstance(value, str) else ""
        raise ConfigError(f"{path}={value!r} must be of type {kind.__name__}, not {type(value).__name__}{hint}")
    return value


def _dataclass(kind: Any, value: Any, path: str) -> Any:
    hints = get_type_hints(kind)
    values = _mapping(value, path)
    for name in values:
        if name not in hints:
            raise ConfigError(f"unknown key '{_join(path, name)}'{nearest(name, hints)}")
    for item in fields(kind):
        if item.name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(
                f"missing key '{_join(path, item.name)}': set it in the YAML file of its group or override it"
            )
    return kind(**{name: _convert(hints[name], item, _join(path, name)) for name, item in values.items()})


def _component(value: Any, path: str) -> Component:
    options = dict(_mapping(value, path))
    target = options.pop("_target_", None)
    if not isinstance(target, str):
        raise ConfigError(f"'{path}' needs a _target_: the import path of the class to use")
    # A stored config may name the place where the class lay when it was written.
    target = current_name(target)
    module = find_definition(target, path).module
    # Of the module that defines it: a name may be imported into a module of one's own.
    check_trusted(module, module_file(module), f"{path}._target_={target}")
    known = parameters_of(target, path)
    for name in options:
        if name not in known:
            raise ConfigError(f"unknown key '{_join(path, name)}' for {target}{nearest(name, known)}")
    return Component(target, {name: _option(known[name], value, _join(path, name)) for name, value in options.items()})


def _loss_term(value: Any, path: str) -> LossTerm:
    """`{weight: 1.0, _target_: X, option: value}`; without `_target_` it is the term of its name."""
    options = dict(_mapping(value, path))
    if "weight" not in options:
        raise ConfigError(f"missing key '{path}.weight': the weight of the term; 0 = measured, not trained")
    weight = _scalar(float, options.pop("weight"), f"{path}.weight")
    name = path.rpartition(".")[2]
    if "_target_" not in options and name not in term_names():
        raise ConfigError(f"'{path}' needs a _target_: the import path of the term{nearest(name, term_names())}")
    # A `_target_` among the options wins: a term of one's own may have the name of one of ours.
    return LossTerm(weight, _component({"_target_": target_of_term(name)} | options, path))


PLAIN_TYPES = {"int": int, "float": float, "str": str, "bool": bool}


def _option(annotation: str, value: Any, path: str) -> Any:
    """Check one option against a plain annotation of its argument; other annotations are left to the class."""
    name = annotation.removesuffix(" | None")
    # `???` passes here: whether a recipe must be complete depends on who asks, see `resolved`.
    if name not in PLAIN_TYPES or (value is None and name != annotation) or value == "???":
        return value
    return _scalar(PLAIN_TYPES[name], value, path)


def _mapping(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"'{path}' must be a group of keys, not {value!r}")
    return value


def _sequence(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        example = "" if isinstance(value, dict) else f": {path}=[{value}]"
        raise ConfigError(f"{path}={value!r} must be a list{example}")
    return value


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)
