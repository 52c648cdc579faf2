"""Whether answers and parameters have the shape that the SDK's type annotations give them.

The SDK itself takes and sends any JSON: a fake that makes fields up, forgets them or misspells a status would go
unnoticed, and so would a parameter that the fake and its test misspell alike.
"""

import importlib
import inspect
import types
import typing
from decimal import Decimal

import typing_extensions
from stripe import ListObject, StripeContext, StripeObject


def faults(value, at=""):
    """Every place in `value` that is not as declared, as text."""
    found = []
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += faults(item, f"{at}[{index}]")
    if not isinstance(value, StripeObject):
        return found
    fields = value.to_dict(recursive=False)
    if "object" in fields or not at:
        at = type(value).__name__
    declared = _declared(type(value))
    for name, inner in fields.items():
        # A bare StripeObject is a map that anybody may put anything into, as metadata is.
        if declared and name not in declared:
            found.append(f"{at}.{name} is not known")
        elif declared and not _fits(inner, declared[name]):
            shown = type(inner).__name__ if isinstance(inner, StripeObject) else repr(inner)
            found.append(f"{at}.{name} is {shown}, not {declared[name]}")
        found += faults(inner, f"{at}.{name}")
    for name, annotation in declared.items():
        # Of what is deleted little is left.
        if name not in fields and not _fits(None, annotation) and not fields.get("deleted"):
            found.append(f"{at}.{name} is missing")
    return found


def takes(method, params):
    """Whether the SDK's method is declared to take these parameters, the nested ones included."""
    declared = inspect.signature(method).parameters["params"].annotation
    (name,) = (arm for arm in typing.get_args(declared) or (declared,) if arm is not type(None))
    name = getattr(name, "__forward_arg__", name)
    package = type(method.__self__).__module__.replace("stripe.", "stripe.params.", 1).rpartition(".")[0]
    return _fits(params, getattr(importlib.import_module(package), name))


def _declared(cls):
    fields = {}
    for base in reversed(cls.__mro__):
        if base is not StripeObject and issubclass(base, StripeObject):
            fields.update(inspect.get_annotations(base))
    if cls is ListObject:
        # Declared nowhere, and everywhere at Stripe.
        fields.update(object=str, total_count=typing.Optional[int])
    return {
        name: annotation
        for name, annotation in fields.items()
        if not name.startswith("_") and typing.get_origin(annotation) is not typing.ClassVar
    }


def _fits(value, annotation):
    origin, arms = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is typing.Any or isinstance(annotation, typing.TypeVar):
        return True
    if annotation is type(None):
        return value is None
    if origin is typing.Literal:
        return value in arms
    if origin in (typing.Union, types.UnionType):
        # `Union[Literal[…], str]` says that words may be added one day; today's are listed. An empty one alone
        # says that any text may be taken away again.
        words = [arm for arm in arms if typing.get_origin(arm) is typing.Literal]
        if words and words != [typing.Literal[""]] and isinstance(value, str):
            arms = words
        return any(_fits(value, arm) for arm in arms)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arms[0]) for item in value)
    if origin is dict:
        return isinstance(value, (dict, StripeObject))
    if isinstance(annotation, (str, typing.ForwardRef)):
        # The name of another class of the SDK.
        return isinstance(value, StripeObject)
    if typing_extensions.is_typeddict(annotation):
        # What the options of every request are declared with is not imported where they are mixed in.
        names = {"Mapping": typing.Mapping, "StripeContext": StripeContext}
        known = typing_extensions.get_type_hints(annotation, localns=names)
        return (
            isinstance(value, dict)
            and annotation.__required_keys__ <= value.keys() <= known.keys()
            and all(_fits(inner, known[name]) for name, inner in value.items())
        )
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation in (int, Decimal):
        return isinstance(value, annotation) and not isinstance(value, bool)
    if issubclass(origin or annotation, StripeObject):
        # Which class it is made of the SDK itself decides.
        return isinstance(value, StripeObject)
    return isinstance(value, annotation)
