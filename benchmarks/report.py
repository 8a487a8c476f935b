"""Makes of `results.json` the tables of `benchmarks/README.md`, `docs/performance.md` and the README, and `docs/plots`.

The plots need matplotlib; `--tables` does without them.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from pathlib import Path
from typing import Any, Iterator

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / 'docs'
PLOTS = DOCS / 'plots'
OURS = 'inference_client'
TITLES = {
    'single': 'One short text a call (ms, median of the rounds)',
    'bulk': '2,048 short texts, documents in and out; the key is the batch size (ms)',
    'images': '64 JPEG images of 200 kB, 8 in a request (ms)',
    'threads': '8 threads, one client, a request of a second each (ms)',
    'at_once': '1,000 calls at once from one event loop (ms)',
    'memory': 'Peak memory of a process that streams a generator of so many texts (MB)',
    'start': 'Starting (ms)',
}
LABELS = {'wall': 'time', 'cpu': 'CPU time of the client'}
WIRES = {'grpc': 'gRPC', 'http': 'HTTP', 'ws': 'WebSocket'}
SUMMARY = (
    ('one short text a call, p50', 'single', '', 'p50'),
    ('2,048 short texts, batch 32', 'bulk', ' 32', 'wall'),
    ("the client's own CPU time for these", 'bulk', ' 32', 'cpu'),
    ('64 images of 200 kB', 'images', '', 'wall'),
    ('8 threads, one client, 1 s each', 'threads', '', 'wall'),
    ('1,000 calls at once, one event loop', 'at_once', '', 'wall'),
)
HEADLINE = (
    ('one short text over gRPC, median', 'single', 'grpc', 'p50', 'ms'),
    ('one short text over HTTP, median', 'single', 'http', 'p50', 'ms'),
    ('one short text over WebSocket, median', 'single', 'ws', 'p50', 'ms'),
    ('64 images of 200 kB over gRPC', 'images', 'grpc', 'wall', 'ms'),
    ('8 threads with a request of a second each, gRPC', 'threads', 'grpc', 'wall', 'ms'),
    ('memory for a stream of 200,000 texts, WebSocket', 'memory', 'ws', '200,000', 'MB'),
)
IMPORTS = ('import inference_client', 'import jina')
INSTALLS = HERE / 'installs.json'  # by installs.py
PEER = 'jina 3.33.1'


def rows(results: dict[str, Any], work: str) -> Iterator[tuple[str, str, str, float, str]]:
    """Case, measure, contender, median, and how many times ours it is: median, least and most of the rounds."""
    for case, contenders in results[work].items():
        if work == 'start':
            yield '', 'time', case, statistics.median(contenders['wall']), ''
            continue
        for measure, own in contenders[OURS].items():
            for name, measured in contenders.items():
                ratios = [other / mine for other, mine in zip(measured[measure], own)]
                low, high = min(ratios), max(ratios)
                spread = f'{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})' if name != OURS else '1'
                if len(ratios) == 1 and name != OURS:
                    spread = f'{ratios[0]:.2f}'
                yield case, LABELS.get(measure, measure), name, statistics.median(measured[measure]), spread


def tables(results: dict[str, Any]) -> str:
    """All results as Markdown."""
    parts = [f'Measured on {results["machine"]}.']
    for work, title in TITLES.items():
        if work not in results:
            continue
        parts.append(f'### {title}')
        if work == 'start':
            parts.append('| | ms |\n| --- | --- |')
            parts[-1] += ''.join(f'\n| {name} | {median:.0f} |' for _, _, name, median, _ in rows(results, work))
            continue
        lines = ['| | | | median | times ours |', '| --- | --- | --- | --- | --- |']
        lines += [
            f'| {case} | {measure} | {name} | {_number(median)} | {spread} |'
            for case, measure, name, median, spread in rows(results, work)
        ]
        parts.append('\n'.join(lines))
    return '\n\n'.join(parts)


def summary(results: dict[str, Any]) -> str:
    """How many times as long as this client the peer takes, and this client as the floor, by work and wire."""
    lines = ['| work | wire | `jina.Client` takes | this client takes, of the floor |', '| --- | --- | --- | --- |']
    for title, work, suffix, measure in SUMMARY:
        for wire, label in WIRES.items():
            taken = {name: found[measure] for name, found in results[work][wire + suffix].items()}
            peer = _times(taken['jina.Client'], taken[OURS]) if 'jina.Client' in taken else '-'
            floor = _times(taken[OURS], taken['floor']) if 'floor' in taken else '-'
            lines.append(f'| {title} | {label} | {peer} | {floor} |')
    return '\n'.join(lines)


def headline(results: dict[str, Any]) -> str:
    """What the README shows of them: medians beside those of the peer, and what an installation weighs."""
    lines = ['| | this client | `jina.Client` 3.33 |', '| --- | --- | --- |']
    for title, work, case, measure, unit in HEADLINE:
        medians = (statistics.median(results[work][case][name][measure]) for name in (OURS, 'jina.Client'))
        lines.append(f'| {title} | {" | ".join(f"{_number(one)} {unit}" for one in medians)} |')
    started = (f'{statistics.median(results["start"][name]["wall"]):,.0f} ms' for name in IMPORTS)
    lines.append(f'| importing it | {" | ".join(started)} |')
    sizes = json.loads(INSTALLS.read_text(encoding='utf-8'))
    both = (sizes['3.11']['core'], sizes['peers'][PEER])
    weights = (f'{one["packages"]} packages, {one["megabytes"]} MB' for one in both)
    lines.append(f'| an installation on Python 3.11 | {" | ".join(weights)} |')
    return '\n'.join(lines)


def _times(slower: list[float], faster: list[float]) -> str:
    ratios = [one / other for one, other in zip(slower, faster)]
    return f'{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})'


def between_marks(page: str, text: str) -> str:
    """The page with what stands between its two marks renewed."""
    mark = r'(<!-- results -->\n).*(\n<!-- end of results -->)'
    return re.sub(mark, lambda found: found[1] + text + found[2], page, flags=re.DOTALL)


PAGES = {HERE / 'README.md': tables, DOCS / 'performance.md': summary, HERE.parent / 'README.md': headline}


def plot(results: dict[str, Any], work: str) -> None:
    """Bars of the medians, a group for each case, as SVG."""
    import matplotlib

    matplotlib.use('svg')
    matplotlib.rcParams.update({'svg.hashsalt': work, 'svg.fonttype': 'none', 'font.size': 9})
    from matplotlib import pyplot

    found = [row for row in rows(results, work) if row[1] not in ('p95', LABELS['cpu'])]
    cases = list(dict.fromkeys((case, measure) for case, measure, *_ in found))
    names = list(dict.fromkeys(name for _, _, name, *_ in found))
    figure, axes = pyplot.subplots(figsize=(8, 0.5 + 0.24 * len(found) + 0.12 * len(cases)))
    place, ticks, labels = 0.0, [], []
    colours = dict(zip(names, pyplot.get_cmap('tab10').colors))
    for case, measure in cases:
        for name, median in ((row[2], row[3]) for row in found if row[:2] == (case, measure)):
            axes.barh(place, median, 0.9, color='tab:gray' if work == 'start' else colours[name])
            axes.text(median, place, f' {_number(median)}', va='center')
            ticks.append(place)
            labels.append(' '.join(part for part in (case, measure if work == 'memory' else '', name) if part))
            place += 1
        place += 0.5
    axes.set_yticks(ticks, labels)
    axes.invert_yaxis()
    axes.set_title(TITLES[work], loc='left')
    axes.spines[['top', 'right']].set_visible(False)
    axes.margins(x=0.12)
    figure.savefig(PLOTS / f'{work}.svg', bbox_inches='tight', metadata={'Date': None})
    pyplot.close(figure)


def _number(value: float) -> str:
    return f'{value:.2f}' if value < 10 else f'{value:,.0f}'


def main() -> None:
    """Write the tables, and the plots unless only tables are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--tables', action='store_true', help='leave the plots as they are')
    options = parser.parse_args()
    results = json.loads((HERE / 'results.json').read_text(encoding='utf-8'))
    for page, made in PAGES.items():
        page.write_text(between_marks(page.read_text(encoding='utf-8'), made(results)), encoding='utf-8')
    if not options.tables:
        PLOTS.mkdir(exist_ok=True)
        for work in TITLES:
            if work in results:
                plot(results, work)


if __name__ == '__main__':
    main()
