"""What the atlas says: python -m validation.atlas.report

Prints, for each part and method, how large errors are and how many are within what the methods state; how the exact
answers agree with the simulations; what the table that ships (`table.py`) says of the cells held out, of which it knows
nothing; the worst cells; and why cells were refused. Draws results/atlas.png: errors, with their half-widths added,
against each coordinate. Exits with status 1 when fewer than 95 % of the errors that a method states a bound for are
within it, the exact answers disagree, or the table's bounds hold for less than 93 % or more than 97 % of the cells held
out.
"""

from __future__ import annotations

import math
import sys

import polars as pl

from qtheory.accuracy import COORDINATES, neighbourhood
from validation.tables import RESULTS

COVERED, AGREED = 0.95, 0.9
HELD = (0.93, 0.97)
"""What part of the errors held out may be within bounds that are to hold for 95 %."""
WORST = 12
EXACT = 1e-12
"""Half-widths below this part of the value are of quantities that do not vary."""
SIZE = pl.col("error").abs() + pl.col("half_width")
CERTAIN = pl.col("error").abs() - pl.col("half_width")
"""What the error is at least."""
WITHIN = pl.col("stated") >= CERTAIN
DRAWN = (1e-4, 10.0)
SHOWN = {"steady": "mean_response", "drain": "mean"}


def summary(answers: pl.DataFrame) -> pl.DataFrame:
    """A row for each part and method that is approximate: errors, half-widths added, and what is stated of them."""
    known = pl.col("stated").is_finite()
    return (
        answers.filter(~pl.col("exact"))
        .group_by("part", "method")
        .agg(
            pl.struct("grid", "index").n_unique().alias("cells"),
            pl.len().alias("errors"),
            SIZE.median().alias("median"),
            SIZE.quantile(0.95).alias("95 %"),
            SIZE.max().alias("largest"),
            known.mean().alias("stated"),
            WITHIN.filter(known).mean().alias("within"),
        )
        .sort("part", "method")
    )


def agreement(answers: pl.DataFrame) -> tuple[float, int]:
    """The part of the exact answers that is inside the 95 % intervals of the simulations, and how many there are."""
    exact = answers.filter(pl.col("exact") & pl.col("stated").is_finite() & (pl.col("half_width") > EXACT))
    inside = exact.filter(pl.col("error").abs() <= pl.col("half_width"))
    return len(inside) / max(len(exact), 1), len(exact)


def held_out(answers: pl.DataFrame) -> pl.DataFrame:
    """The errors of the grid held out, each with the bound that the table has for it, `table`, inf where none.

    And `given`, what a user gets: the method's own bound where it states one.
    """
    errors = answers.filter((pl.col("grid") == "held out") & ~pl.col("exact"))
    bounds = [
        neighbourhood(row["part"], row["method"], row)[1].get(row["quantity"], math.inf)
        for row in errors.iter_rows(named=True)
    ]
    errors = errors.with_columns(pl.Series("table", bounds))
    own = pl.col("stated").is_finite()
    return errors.with_columns(pl.when(own).then("stated").otherwise("table").alias("given"))


def coverage(errors: pl.DataFrame, bound: str) -> dict[str, float]:
    """Of errors with a bound: how many, the part within it, and the median of the bounds over that of the errors.

    Most errors are too small to be seen: `over_error` is that ratio with their half-widths added to them, and
    `over_seen` that of the errors larger than their half-widths, half-widths not added.
    """
    known = errors.filter(pl.col(bound).is_finite())
    size, seen = pl.col("error").abs(), known.filter(pl.col("error").abs() > pl.col("half_width"))
    return {
        "errors": len(known),
        "known": len(known) / len(errors),
        "within": known.select((size <= pl.col(bound)).mean()).item(),
        "over_error": known.select(pl.col(bound).median() / SIZE.median()).item(),
        "over_seen": seen.select(pl.col(bound).median() / size.median()).item(),
    }


def by_answer(errors: pl.DataFrame, bound: str) -> pl.DataFrame:
    """One row for each answer: its largest error and bound of means and probabilities, as `error_bound` is."""
    headline = errors.filter((pl.col("part") == "drain") | ~pl.col("quantity").str.ends_with("quantile"))
    return headline.group_by("grid", "index", "part").agg(
        pl.col(bound).max(), pl.col("error").abs().max(), pl.col("half_width").sort_by(pl.col("error").abs()).last()
    )


def worst(answers: pl.DataFrame) -> pl.DataFrame:
    """The quantity of each cell that is furthest off for certain, largest first."""
    return (
        answers.filter(~pl.col("exact"))
        .sort(CERTAIN, descending=True)
        .unique(["grid", "index", "part"], keep="first", maintain_order=True)
        .select("grid", "index", "part", "method", "quantity", "error", "half_width", "stated", "arrivals", "service")
        .head(WORST)
    )


def draw(answers: pl.DataFrame) -> None:
    """Errors of the mean response and of the mean drain against each coordinate, and their 95 % quantiles."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(4, 6, figsize=(17, 11), sharey=True, layout="constrained")
    for part, rows in zip(("steady", "drain"), (axes[:2], axes[2:]), strict=True):
        seen = answers.filter((pl.col("part") == part) & (pl.col("quantity") == SHOWN[part]) & ~pl.col("exact"))
        methods = sorted(seen["method"].unique())
        for axis, coordinate in zip(rows.flat, COORDINATES, strict=True):
            for method, mark in zip(methods, "ox+v^sD*1234", strict=False):
                of = seen.filter(pl.col("method") == method)
                size = of.select(SIZE.clip(*DRAWN)).to_series()
                axis.plot(of[coordinate], size, mark, markersize=2.5, color="black", alpha=0.3, mew=0.5, label=method)
            tenths = seen.sort(coordinate).with_columns((pl.int_range(pl.len()) * 10 // pl.len()).alias("tenth"))
            high = tenths.group_by("tenth").agg(pl.col(coordinate).median(), SIZE.quantile(0.95)).sort("tenth")
            axis.plot(high[coordinate], high["error"], "o-", color="tab:red", markersize=3, linewidth=1.2)
            axis.set(yscale="log", ylim=DRAWN, xlabel=f"{coordinate} ({part})")
        rows[1, -1].legend(fontsize=6.5, loc="lower left")
    figure.supylabel("relative error of the mean response (above) and of the mean drain (below), half-width added")
    figure.savefig(RESULTS / "atlas.png", dpi=90)


def main() -> int:
    """Print and draw; the status."""
    found = pl.read_parquet(RESULTS / "atlas.parquet")
    answers = found.filter(pl.col("quantity").is_not_null())
    pl.Config(tbl_rows=40, tbl_cols=12, tbl_width_chars=150, float_precision=4, tbl_hide_column_data_types=True)
    of, cells = summary(answers), found.select("grid", "index").n_unique()
    print(f"{cells} cells, {len(answers)} quantities\n{of}")
    share, number = agreement(answers)
    print(f"exact: {share:.1%} of {number} quantities inside the intervals of 95 %")
    print(worst(answers))
    refused = found.filter(pl.col("refused").is_not_null()).group_by("part").len()
    print(f"refused: {dict(refused.iter_rows())} of {cells} cells each")
    draw(answers)
    stated = answers.filter(~pl.col("exact") & pl.col("stated").is_finite())
    within = stated.filter(WITHIN)
    print(f"{len(within) / len(stated):.1%} of {len(stated)} errors within the bound that the method states")
    errors = held_out(answers)
    rows = []
    for bound in ("table", "given"):
        for what, of in (("error", errors), ("answer", by_answer(errors, bound))):
            rows.append({"bounds": bound, "of each": what, **coverage(of, bound)})
    print(f"held out:\n{pl.DataFrame(rows)}")
    holds = HELD[0] <= rows[0]["within"] <= HELD[1]
    return 0 if len(within) >= COVERED * len(stated) and share > AGREED and holds else 1


if __name__ == "__main__":
    sys.exit(main())
