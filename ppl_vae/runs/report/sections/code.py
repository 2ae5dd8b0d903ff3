"""What the code is used for: rate, information, and its units."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ppl_vae.runs.report.charts import Bar, bar_chart
from ppl_vae.runs.report.codes import unit_means
from ppl_vae.runs.report.markup import columns, facts, figure, folded, joined, stored, table
from ppl_vae.runs.report.subject import Subject

TITLE = "Use of the code"
PLACE = 70

MOST_UNITS = 128
"""Units beyond which only the most used are drawn and listed."""


def section(subject: Subject) -> Markup | None:
    """Rate and information, the units of the code by what they carry, and their means."""
    if subject.information is None:
        return None
    content, _ = subject.information
    units: list[dict[str, Any]] = content["units"]
    by_kl = units[0]["kl"] is not None
    key = "kl" if by_kl else "variance"
    means = unit_means(subject)
    ordered = sorted(range(len(units)), key=lambda i: -(units[i][key] or 0.0))[:MOST_UNITS]
    bars = [
        Bar(units[i]["name"], 0.0, units[i][key] or 0.0, f"{units[i][key] or 0.0:.3f}", _colour(units[i]["active"]))
        for i in ordered
    ]
    active, total = content["active"], len(units)
    label = f"{active} of {total} units are active"
    y_name = "KL from the prior (nats)" if by_kl else "variance of E[z] over the data"
    legend = [(f"active: {active}", "blue")] + ([(f"collapsed: {total - active}", "orange")] if active < total else [])
    chart = figure(bar_chart(bars, f"{label}; {y_name}", "unit, sorted", y_name, legend), f"{label}.")
    rows = []
    for i in ordered:
        unit = units[i]
        mean = "" if means is None else _mean(means[i])
        kl = "" if unit["kl"] is None else f"{unit['kl']:.3f}"
        rows.append((unit["name"], kl, mean, f"{unit['variance'] or 0.0:.4f}", "yes" if unit["active"] else "no"))
    heads = ("unit", "KL (nats)", "mean", "variance of the mean", "active")
    listed = folded(f"All {len(rows)} units", table("Units of the code, most used first", heads, rows))
    named = {
        "Measured on": subject.sized(content["data"]),
        "Rate": stored(content["rate"], 2, " nats"),
        "Distortion": stored(content["distortion"], 2, " nats"),
        "Information in the code": stored(content["information"], 2, " nats"),
        "Largest that these data can show": f"{content['log_data']:.2f} (log of their number)",
    }
    if "marginal_mismatch" in content:
        named["Aggregate from prior"] = stored(content["marginal_mismatch"], 2, " nats")
    return columns(chart, Markup("<div>{}</div>").format(joined([facts(named), listed])))


def _colour(active: bool) -> str:
    return "blue" if active else "orange"


def _mean(states: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in states[:6]) + (" ..." if len(states) > 6 else "")
