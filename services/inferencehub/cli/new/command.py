"""`inferencehub new`: writes the directory of a model to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from inferencehub.cli.new.template import NAME, templates

TEMPLATES = templates()
KINDS = "\n".join(f"  {name}: {template.about}" for name, template in TEMPLATES.items())


@click.command(
    help=f"""Write the directory of a model to begin with.

    It has a config.pbtxt that explains itself, the model, and a test of it. `inferencehub check NAME` takes it as it is; one of
    scikit-learn may need types that you trust first, which the check names.

    \b
    --from is one of these:
{KINDS}"""
)
@click.argument("name")
@click.option(
    "--from", "kind", required=True, type=click.Choice([*TEMPLATES]), help="What it is made from; see above."
)
@click.option(
    "--file", "given", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The model's file, which is copied; its suffix stays.",
)  # fmt: skip
@click.option(
    "--into", type=click.Path(path_type=Path, file_okay=False), default=".", show_default="here",
    help="The repository of models that gets it; made if it is not there.",
)  # fmt: skip
def new(name: str, kind: str, given: Path | None, into: Path) -> None:
    """See the help above."""
    template = TEMPLATES[kind]
    if not NAME.fullmatch(name):
        raise click.UsageError(
            f"NAME is '{name}', expected letters, digits, '.', '_' and '-', and no sign at the start"
        )
    if template.takes_file != (given is not None):
        raise click.UsageError(
            f"--from {kind} needs --file" if template.takes_file else f"--from {kind} takes no --file"
        )
    directory = into / name
    if directory.exists():
        raise click.UsageError(f"'{directory}' is there already")
    if given is not None and (why := template.misfit(given)):
        raise click.UsageError(f"'{given}' {why}, expected {template.about}")
    for path, content in template.files(name, directory, given):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
        click.echo(directory / path)
    click.echo(
        f"\nTry:\n\n  inferencehub check {directory}\n  inferencehub run {directory} --reload\n", err=True
    )
