"""What classes and functions declare, read from their source: nothing is imported, so that no check waits for torch.

A class inherits here what it inherits in Python: bases are followed through the imports of its module, into other
modules too, in Python's order of method resolution.
"""

import ast
import importlib.machinery
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from snac_exp.errors import ConfigError

Statement = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Definition:
    """A class or function at the top level of a module."""

    module: str
    node: Statement

    @property
    def methods(self) -> dict[str, ast.FunctionDef]:
        """Functions of a class's own body by name; none of a function."""
        body = self.node.body if isinstance(self.node, ast.ClassDef) else []
        return {item.name: item for item in body if isinstance(item, ast.FunctionDef)}

    @property
    def is_dataclass(self) -> bool:
        """Whether `@dataclass` stands above it, with or without arguments."""
        decorators = [item.func if isinstance(item, ast.Call) else item for item in self.node.decorator_list]
        return any(ast.unparse(item).split(".")[-1] == "dataclass" for item in decorators)


def parameters_of(target: str, path: str) -> dict[str, str]:
    """Arguments of the class or function of an import path, with their annotations; those of base classes included.

    Raises:
        ConfigError: there is no such module or name; tells the key `path`.
    """
    definition = find_definition(target, path)
    if isinstance(definition.node, ast.FunctionDef):
        return _arguments(definition.node)
    return _class_arguments(with_bases(definition))


def declared_set(target: str, attribute: str, path: str) -> frozenset[str] | None:
    """The constant set of words that a class or the nearest of its bases assigns to `attribute`; None where none does.

    Raises:
        ConfigError: there is no such class, or what it assigns is no constant set of strings.
    """
    for definition in with_bases(find_definition(target, path)):
        value = _assigned(definition.node, attribute)
        if value is not None:
            return _constant_set(value, f"{path}: {definition.module}.{definition.node.name}.{attribute}")
    return None


def find_definition(target: str, path: str) -> Definition:
    """The class or function of an import path, also where its module only imports it from another one."""
    module, _, name = target.rpartition(".")
    if module_file(module) is None:
        raise ConfigError(f"{path}: there is no module '{module}'; check the spelling and PYTHONPATH")
    definition = _resolve(module, name)
    if definition is None:
        raise ConfigError(f"{path}._target_={target}: {module} defines no '{name}'")
    return definition


def public_functions(module: str, path: str) -> list[str]:
    """Names of the functions that a module defines and does not hide behind an underscore."""
    file = module_file(module)
    if file is None:
        raise ConfigError(f"{path}: there is no module '{module}'; check the spelling and PYTHONPATH")
    definitions = _names_of(module, file, file.stat().st_mtime_ns).definitions
    functions = [name for name, node in definitions.items() if isinstance(node, ast.FunctionDef)]
    return [name for name in functions if not name.startswith("_")]


def with_bases(definition: Definition) -> Iterator[Definition]:
    """A class and its bases in Python's order (C3), as far as their source can be found; lazily."""
    yield definition
    parents = _bases(definition)
    lines = [*([*with_bases(parent)] for parent in parents), parents]
    while lines := [line for line in lines if line]:
        # The first class that no other line still has further down; the class statement itself fails without one.
        best = next((line[0] for line in lines if not any(line[0] in other[1:] for other in lines)), lines[0][0])
        yield best
        lines = [[item for item in line if item != best] for line in lines]


def module_file(module: str) -> Path | None:
    """Where a module's source lies; its packages are not imported."""
    # Part by part: find_spec of a dotted name imports the packages above it.
    top, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(top) if top else None
    except ValueError:  # loaded without a spec, as __main__ is
        spec = None
    name = top
    for part in inner:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(name, list(spec.submodule_search_locations))
    # What is built in or compiled has no source to read.
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _class_arguments(line: Iterator[Definition]) -> dict[str, str]:
    """Arguments of the first class of a line that has any of its own; with `**kwargs`, also what the next ones take."""
    for definition in line:
        if "__init__" in definition.methods:
            function = definition.methods["__init__"]
            # The iterator goes on behind this class: what **kwargs passes on is what the next ones take.
            inherited = {} if function.args.kwarg is None else _class_arguments(line)
            return _arguments(function) | {
                key: item for key, item in inherited.items() if key not in _arguments(function)
            }
        if definition.is_dataclass:
            fields: dict[str, str | None] = {}
            # As dataclasses do it: from the furthest base on, a later field takes the place of one of its name.
            for item in reversed([definition, *line]):
                fields |= _fields(item) if item.is_dataclass else {}
            return {name: annotation for name, annotation in fields.items() if annotation is not None}
    return {}


def _arguments(function: ast.FunctionDef) -> dict[str, str]:
    arguments = function.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return {item.arg: ast.unparse(item.annotation) if item.annotation else "" for item in every if item.arg != "self"}


def _fields(definition: Definition) -> dict[str, str | None]:
    """Annotated names of a dataclass's own body; None for one that is no argument of it."""
    fields: dict[str, str | None] = {}
    for item in definition.node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            annotation = ast.unparse(item.annotation)
            plain = annotation.strip("'\"").split("[")[0].split(".")[-1]
            if plain not in ("ClassVar", "KW_ONLY"):
                fields[item.target.id] = annotation if _is_argument(item.value) else None
    return fields


def _is_argument(default: ast.expr | None) -> bool:
    """False for `field(init=False)`."""
    keywords = default.keywords if isinstance(default, ast.Call) else []
    return not any(item.arg == "init" and ast.unparse(item.value) == "False" for item in keywords)


def _assigned(node: Statement, attribute: str) -> ast.expr | None:
    for item in node.body if isinstance(node, ast.ClassDef) else []:
        targets = (
            [item.target] if isinstance(item, ast.AnnAssign) else item.targets if isinstance(item, ast.Assign) else []
        )
        if isinstance(item, ast.AnnAssign | ast.Assign) and attribute in map(ast.unparse, targets):
            return item.value
    return None


def _constant_set(value: ast.expr, where: str) -> frozenset[str]:
    inner = value
    if isinstance(value, ast.Call) and ast.unparse(value.func) in ("frozenset", "set"):
        # literal_eval knows displays alone, not calls such as frozenset({…}).
        inner = value.args[0] if value.args else ast.Tuple([])
    try:
        words = ast.literal_eval(inner)
    except ValueError:
        words = None
    if not isinstance(words, set | tuple | list) or not all(isinstance(word, str) for word in words):
        raise ConfigError(f'{where} must be a constant set of strings, like frozenset({{"audio"}})')
    return frozenset(words)


def _bases(definition: Definition) -> list[Definition]:
    """Base classes whose source can be found; what is built in, compiled or computed has no options to read."""
    if not isinstance(definition.node, ast.ClassDef):
        return []
    expressions = [base.value if isinstance(base, ast.Subscript) else base for base in definition.node.bases]
    found = [_resolve(definition.module, ast.unparse(item)) for item in expressions]
    return [item for item in found if item is not None and isinstance(item.node, ast.ClassDef)]


def _resolve(module: str, name: str, seen: frozenset[tuple[str, str]] = frozenset()) -> Definition | None:
    """What a (dotted) name of a module stands for, through its imports; None where that is not to be found."""
    # `seen` ends the search where modules import a name from each other.
    file = module_file(module)
    if file is None or (module, name) in seen:
        return None
    seen |= {(module, name)}
    names = _names_of(module, file, file.stat().st_mtime_ns)
    first, _, rest = name.partition(".")
    if not rest and first in names.definitions:
        return Definition(module, names.definitions[first])
    if first in names.imports:
        full = f"{names.imports[first]}.{rest}".rstrip(".")
        return _resolve(*_split(full), seen)
    starred = (_resolve(other, name, seen) for other in names.starred)
    return next((item for item in starred if item is not None), None)


@dataclass(frozen=True)
class _Names:
    """What stands at the top level of a module: definitions, imported name -> its full path, modules imported by *."""

    definitions: dict[str, Statement]
    imports: dict[str, str]
    starred: list[str]


@cache
def _names_of(module: str, file: Path, changed_ns: int) -> _Names:
    """Names of a module; `changed_ns`, when its file was written last, keeps the cache true."""
    names = _Names({}, {}, [])
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in _top_level(ast.parse(file.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.definitions[node.name] = node
        elif isinstance(node, ast.Import):
            for item in node.names:
                # `import a.b` binds a, `import a.b as c` binds a.b.
                own = item.asname or item.name.partition(".")[0]
                names.imports[own] = item.name if item.asname else own
        elif isinstance(node, ast.ImportFrom):
            # One dot is the module's own package, each further one the package above.
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            for item in node.names:
                if item.name == "*":
                    names.starred.append(source)
                else:
                    names.imports[item.asname or item.name] = f"{source}.{item.name}"
    return names


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those under `if` and `try` included."""
    for node in body:
        yield node
        # All branches: which one runs is known only to who runs it.
        if isinstance(node, ast.If | ast.Try):
            yield from _top_level([*node.body, *node.orelse])


def _split(target: str) -> tuple[str, str]:
    """Longest module of a full path, and the name in it."""
    module, _, name = target.rpartition(".")
    while module and module_file(module) is None:
        module, _, last = module.rpartition(".")
        name = f"{last}.{name}"
    return module, name
