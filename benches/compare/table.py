"""Measurements → Markdown tables."""
import statistics

OURS = "vecdb"


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def shown(value, form="{:,.0f}"):
    return "–" if value is None else form.format(value)


def markdown(head, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def speed(bench, indexes, rounds, scaling, rate_at, targets):
    """One row an engine; a ratio says how many times as fast ours is, and is the median of the rounds' ratios."""
    parts = [f"{bench.rows.count:,} × {bench.rows.dimension}, k = {bench.a.k}, {len(bench.queries):,} queries, "
             f"{bench.a.rounds} rounds"]
    ours = rounds.get(OURS)
    for what, title in (
        ("qps", "one query at a time; peers are called from Python"),
        ("batch_qps", "peers get all queries in one call, so no Python runs between them; ours one at a time"),
    ):
        head = ["engine", "build, s"]
        for target in targets:
            head += [f"queries/s at recall {target}", "ours is × as fast"]
        head += ["recall reached", "opens in, ms", "peak MB, search", "peak MB, build"]
        rows = []
        for engine, measured in rounds.items():
            built = indexes[engine][1]
            key = "qps" if engine == OURS else what
            row = [engine, shown(built["build_s"], "{:,.1f}")]
            for target in targets:
                rates = [rate_at(points, target, key) for points in measured]
                row.append(shown(median(rates)))
                ratio = None
                if ours:
                    pairs = zip((rate_at(points, target) for points in ours), rates)
                    ratio = median([a / b for a, b in pairs if a and b])
                row.append("" if engine == OURS else shown(ratio, "{:.2f}"))
            points = [point for points in measured for point in points]
            row += [shown(max(point["recall"] for point in points), "{:.4f}"),
                    shown(median(point["open_ms"] for point in points), "{:,.1f}"),
                    shown(max(point["peak_mb"] for point in points)), shown(built["peak_mb"])]
            rows.append(row)
        parts.append(title + ":\n\n" + markdown(head, rows))
    if scaling:
        parts.append(f"Two threads ask {median(scaling):.2f} times as many queries a second as one (ours).")
    return "\n\n".join(parts)


def filtered(measured):
    head = ["filter", "rows that match", "always all hits", "recall", "p50, ms", "p95, ms", "p99, ms"]
    kinds = {"bucket": "random", "far": "matches rank last"}
    rows = [[f"{kinds[line['field']]}, {line['permille'] / 10:g} %", shown(line["matches"]),
             "yes" if line["all_hits"] else "NO", f"{line['recall']:.4f}",
             *(f"{line[part] / 1000:.2f}" for part in ("p50_us", "p95_us", "p99_us"))] for line in measured]
    return markdown(head, rows)
