"""What a file of PyTorch is, by the names in its archive: before PyTorch reads it, and says less about what is wrong.

Both kinds are zip archives whose members stand below one folder, and so are weights and pickled models (`torch.save`).
"""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile, ZipFile

from inferencehub.core.values.errors import HubError
from inferencehub.inference.runtimes.support.error_text import failed, first_line

EXPECTED = "expected a file of torch.export.save (model.pt2) or of torch.jit.save (model.pt)"
# Parts of a .pt2 that run native code or unpickle anything when they are loaded. PyTorch finds them whatever their case.
COMPILED, PICKLED = "data/aotinductor/", "data/constants/opaque_obj"


def check_exported(file: Path, allow_pickle: bool) -> None:
    """Check that a file is an ExportedProgram.

    Raises:
        HubError: MODEL_FAILED with what it is.
    """
    names = members(file)
    if any(name.lower().startswith(COMPILED) for name in names):
        raise failed(
            f"{file.name} has code that AOTInductor compiled for one kind of machine, expected the program itself, as "
            "torch.export.save writes it"
        )
    if not allow_pickle and any(name.lower().startswith(PICKLED) for name in names):
        raise pickled(file.name)
    if "serialized_exported_program.json" in names or any(name.startswith("models/") for name in names):
        return
    if "constants.pkl" in names:
        raise failed(f"{file.name} is TorchScript, whose file is called model.pt")
    raise failed(f"{file.name} is no ExportedProgram{saved(names)}: {EXPECTED}")


def check_script(file: Path) -> None:
    """Check that a file is TorchScript.

    Raises:
        HubError: MODEL_FAILED with what it is.
    """
    names = members(file)
    if "constants.pkl" in names:
        return
    if any(name.startswith("models/") for name in names):
        raise failed(f"{file.name} is an ExportedProgram, whose file is called model.pt2")
    raise failed(f"{file.name} is no TorchScript{saved(names)}: {EXPECTED}")


def members(file: Path) -> set[str]:
    """The names in an archive, without the folder that they stand in if it has one.

    Raises:
        HubError: MODEL_FAILED if it is no archive.
    """
    try:
        with ZipFile(file) as archive:
            names = archive.namelist()
    except (BadZipFile, OSError) as error:
        raise failed(f"{file.name} cannot be read, {first_line(error)}: {EXPECTED}") from None
    folder = f"{names[0].partition('/')[0]}/" if names else ""
    if all(name.startswith(folder) for name in names):
        return {name.removeprefix(folder) for name in names}
    return set(names)


def saved(names: set[str]) -> str:
    """The part of a sentence about a file that `torch.save` has written."""
    return ", but holds what torch.save has pickled, such as weights alone" if "data.pkl" in names else ""


def pickled(name: str) -> HubError:
    """The error for a file with a pickle in it."""
    return failed(
        f"{name} holds pickled objects, and a pickle runs code when it is loaded: expected a program with tensors alone, or "
        "HUB_ALLOW_PICKLE=true if you trust everybody who can write to the model repository"
    )
