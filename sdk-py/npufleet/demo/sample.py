"""Where the demo's real input lies: data files inside installed packages, read without importing the package."""

from importlib.util import find_spec
from pathlib import Path

from npufleet.errors import UnavailableError


def package_file(package: str, name: str) -> Path:
    """Path of the file `name` inside an installed package.

    Raises UnavailableError, naming the package to install, when it is absent.
    """
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / name
        if path.exists():
            return path
    raise UnavailableError(f"the demo reads {name} from the package {package}: pip install 'npufleet[demo]'")
