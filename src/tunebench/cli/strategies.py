"""``strategies``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tunebench.cli.app import JsonOption, app
from tunebench.cli.console import out, print_json, print_rows


@app.command(epilog="Example: tunebench strategies lora --model minilm")
def strategies(
    name: Annotated[str | None, typer.Argument(help="Name of a strategy; default all.")] = None,
    model: Annotated[str | None, typer.Option(help="Also show what each strategy trains on this model.")] = None,
    json_: JsonOption = False,
) -> None:
    """List the strategies with their parameters, defaults and sources."""
    from tunebench.strategies.describe import describe_strategies

    found = describe_strategies(name, model=model)
    if json_:
        print_json(found)
    elif name is None:
        keys = ("name", "learning_rate", "trainable", "share", "summary") if model else ("name", "learning_rate")
        print_rows([{key: row[key] for key in keys} | {"summary": row["summary"]} for row in found])
        refused = [f"{row['name']}: {row['refused']}" for row in found if row.get("refused")]
        for line in refused:
            out.print(f"note: {line}", markup=False)
    else:
        _print_one(found[0])


def _print_one(row: dict[str, Any]) -> None:
    out.print(f"{row['name']}: {row['summary']}", markup=False)
    out.print(f"source: {row['source']}", markup=False)
    out.print(f"learning rate: {row['learning_rate'] if row['learning_rate'] is not None else 'none'}")
    for parameter in row["params"]:
        text = f"  {parameter['name']}: {parameter['type']} = {parameter['default']}"
        out.print(text + (f"  ({parameter['description']})" if parameter["description"] else ""), markup=False)
    if row.get("refused"):
        out.print(f"on {row['model']}: refused: {row['refused']}", markup=False)
    elif row.get("trainable") is not None:
        out.print(
            f"on {row['model']}: trains {row['trainable']:,} of {row['total']:,} ({row['share']:.3%}), of these "
            f"{row['head']:,} head",
            markup=False,
        )
