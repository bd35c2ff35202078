"""What the cluster's edge needs of kubernetes_asyncio, without its models.

To import anything of that package is to import all of it: some 850 modules, nearly all of them generated models and
typed APIs, which were a third of this process' memory at rest, and a quarter of its start. Of the library come our
configuration, our credentials and our session, and they need none of those.

So those of its packages that only gather others are entered in `sys.modules` before their `__init__` has run; it runs
when a name is asked for that is not there yet. Who uses the whole library in the same process finds it whole, and with
the same classes. Where the library was imported before us, it is taken as it is; a version with which this does not
work is imported whole.

A package that has not run is empty to those who look into its `__dict__` (`vars()`); asking for a name, or `dir()`,
fills it.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_LIBRARY = "kubernetes_asyncio"
_GATHERING = (_LIBRARY, f"{_LIBRARY}.client", f"{_LIBRARY}.client.models")  # a package before what is in it

_lock = threading.RLock()


class _Waiting(ModuleType):
    """A package whose `__init__` is still to run."""

    _is_running = False

    def __getattr__(self, name: str) -> Any:
        self._run()
        return ModuleType.__getattribute__(self, name)

    def __dir__(self) -> list[str]:
        self._run()
        return sorted(self.__dict__)

    def _run(self) -> None:
        with _lock:
            if type(self) is not _Waiting:
                return  # another thread was first
            if self._is_running:
                return  # it asks for names itself, and gets those that are there, as of any module half imported
            spec: Any = self.__spec__  # an import always gives one
            self._is_running = True
            try:
                spec.loader.exec_module(self)
            finally:
                del self._is_running
            self.__class__ = ModuleType  # type: ignore[assignment]


def _enter(name: str) -> None:
    """Do what an import does, but for running the module."""
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package = module_from_spec(spec)
    package.__class__ = _Waiting
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)


def _enter_all() -> None:
    for name in _GATHERING:
        _enter(name)
    client: Any = sys.modules[f"{_LIBRARY}.client"]
    # The names that `api_client` and `config` ask for, each before it is.
    client.rest = import_module(f"{_LIBRARY}.client.rest")
    client.Configuration = import_module(f"{_LIBRARY}.client.configuration").Configuration
    client.ApiClient = import_module(f"{_LIBRARY}.client.api_client").ApiClient
    import_module(f"{_LIBRARY}.config")


def _leave_all() -> None:
    for name in [name for name in sys.modules if name == _LIBRARY or name.startswith(f"{_LIBRARY}.")]:
        del sys.modules[name]


if _LIBRARY not in sys.modules:
    try:
        _enter_all()
    except (ImportError, AttributeError):
        _leave_all()  # a version that is made otherwise: better all of it than none

# Not `from kubernetes_asyncio import config`: that asks the outermost package for a name.
from kubernetes_asyncio.client import ApiClient, Configuration  # noqa: E402
from kubernetes_asyncio.config import (  # noqa: E402
    ConfigException,
    load_incluster_config,
    load_kube_config,
    refresh_token,
)

__all__ = [
    "ApiClient",
    "ConfigException",
    "Configuration",
    "load_incluster_config",
    "load_kube_config",
    "refresh_token",
]
