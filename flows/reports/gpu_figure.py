"""How full the caches of the servers were during a run, as a figure for reports."""
# pyright: reportUnknownMemberType=false
# (matplotlib is typed in part only)

from flows.gpu_samples import KV_CACHE, Samples
from flows.reports.svg import ACCENT, FAINT, INK, MIDDLE, canvas, tidy, to_svg

COLOURS = (ACCENT, INK, MIDDLE, FAINT)


def kv_figure(samples: Samples) -> str | None:
    """Draw the use of each server's KV cache over time, as an <svg> element; None if none was read twice."""
    lines = [(where, one) for where, one in samples.of(KV_CACHE) if len(one.points) > 1]
    if not lines:
        return None
    with canvas(2.4) as figure:
        axes = figure.subplots()
        for number, (where, one) in enumerate(lines):
            minutes = [at / 60 for at, _ in one.points]
            uses = [value for _, value in one.points]
            axes.plot(minutes, uses, color=COLOURS[number % len(COLOURS)], linewidth=1.2, label=where)
        axes.set_ylim(0, 100)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=8)
        tidy(axes, "Use of the KV cache", "%", "minutes since the run began")
        most = "; ".join(f"{where}: at most {one.most:.0f} %" for where, one in lines)
        return to_svg(figure, "kv-cache", "Use of the KV cache over time", most)
