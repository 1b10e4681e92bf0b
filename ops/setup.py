"""Set the project up in `.venv`: dependencies at locked versions, then npufleet itself.

With a Rust toolchain the compiled core is built and installed in place (maturin). Without one npufleet is installed
as pure Python: the same programs run on Python workers, and this script says so in one line. Run again after a
change; an unchanged tree costs a second.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "ops" / "constraints.txt"
STAMP = VENV / "npufleet-setup"
TEST_MODELS = ROOT / "ops" / "test-models.txt"
DEFINES_DEPENDENCIES = [ROOT / "pyproject.toml", LOCK, TEST_MODELS]
DEFINES_CORE = [ROOT / "pyproject.toml", ROOT / "broker" / "contract" / "contract.toml", ROOT / "workers-rs"]


def run(*command: str | Path, hidden: bool = False) -> None:
    """Run a command; end the set-up with its exit code when it fails. Hidden output is shown only then."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if hidden else {}
    result = subprocess.run([str(part) for part in command], cwd=ROOT, check=False, text=True, **output)
    if result.returncode:
        print(result.stdout or "", end="", file=sys.stderr)
        sys.exit(f"set-up stopped: {' '.join(map(str, command))} exited with {result.returncode}")


def digest(paths: list[Path]) -> str:
    """Digest of the files at and below `paths`, build outputs apart."""
    state = hashlib.sha256(sys.version.encode())
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "target" not in file.relative_to(ROOT).parts:
                state.update(str(file.relative_to(ROOT)).encode())
                state.update(file.read_bytes())
    return state.hexdigest()


def install_dependencies(project: dict) -> None:
    """Install what the project and its tests need, at the versions of the lock file."""
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["demo"], *extras["test"], *extras["dev"]]
    wanted = [requirement for requirement in wanted if not requirement.startswith("npufleet[")]
    install = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*install, "-c", LOCK, *wanted)
    # Nothing of these is run, so neither what they need nor the Python they are made for matters.
    run(*install, "--no-deps", "--ignore-requires-python", "-r", TEST_MODELS)


def install_compiled() -> None:
    """Build the extension in release mode and install the package in place."""
    print("building the compiled core (a few minutes the first time)", flush=True)
    os.environ["PATH"] = f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    os.environ["VIRTUAL_ENV"] = str(VENV)
    os.environ["PIP_QUIET"] = "1"  # maturin has pip install what is there already
    # Its own quiet mode still tells of every step.
    run(VENV / "bin" / "maturin", "develop", "--quiet", "--release", hidden=True)


def install_pure(project: dict) -> None:
    """Install the package in place without compiling anything: a path entry, metadata and the command."""
    site = next((VENV / "lib").glob("python3.*")) / "site-packages"
    for old in site.glob("npufleet-*.dist-info"):
        shutil.rmtree(old)
    (site / "npufleet.pth").write_text(f"{ROOT / 'sdk-py'}\n")
    info = site / f"npufleet-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: npufleet\nVersion: {project['version']}\n")
    entry_points = "".join(f"{name} = {target}\n" for name, target in project["scripts"].items())
    (info / "entry_points.txt").write_text(f"[console_scripts]\n{entry_points}")
    for name, target in project["scripts"].items():
        module, function = target.split(":")
        script = VENV / "bin" / name
        script.write_text(f"#!{PYTHON}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        script.chmod(0o755)


def main() -> None:
    """Create the environment, then bring dependencies and the package up to date."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this script meets the machine before pip does
        sys.exit(f"npufleet needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    import tomllib  # here, so that an older Python gets the message above

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if not PYTHON.exists():
        run(sys.executable, "-m", "venv", VENV)
    compiled = shutil.which("cargo") is not None
    done = STAMP.read_text().split() if STAMP.exists() else []
    dependencies = digest(DEFINES_DEPENDENCIES)
    if dependencies not in done:
        print("installing dependencies into .venv", flush=True)
        install_dependencies(project)
    package = digest(DEFINES_CORE) if compiled else "pure"
    if package not in done or dependencies not in done:
        if compiled:
            install_compiled()
        else:
            install_pure(project)
    if not compiled:
        print("no Rust toolchain here: npufleet runs on Python workers only (rustup.rs has one)")
    STAMP.write_text(f"{dependencies} {package}\n")


if __name__ == "__main__":
    main()
