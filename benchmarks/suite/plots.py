# SPDX-License-Identifier: Apache-2.0
"""plots.py - an SVG a question and unit, by gnuplot: medians, from least to p99"""
import shutil
import subprocess

from figures import MORE_IS_BETTER, quantile
from report import OURS

SCRIPT = '''\
set terminal svg size {width},520 dynamic enhanced font "sans,13" background "white"
set output "{out}"
set title "{title}" noenhanced
set style data histogram
set style histogram errorbars gap 1 lw 1
set style fill solid 0.85 border -1
set logscale y
set ylabel "{unit}, {better} is better (logarithmic)"
set grid ytics
set key outside right top noenhanced
set xtics rotate by -30 noenhanced
set bars 0.4
set datafile missing "?"
plot {plots}
'''


def available():
    """True if plots can be made."""
    return shutil.which('gnuplot') is not None


def _data(figures, places, whos):
    """Rows: label, then median, least and p99 of each; ? where somebody has no figure."""
    for place in places:
        cells = [f'"{place.metric}, {place.workers}w"']
        for who in whos:
            values = [value for value in figures.values[place].get(who, []) if value > 0]
            cells += ([f'{quantile(values, q):.6g}' for q in (0.5, 0, 0.99)] if values
                      else ['?', '?', '?'])
        yield ' '.join(cells)


def draw(figures, folder):
    """Draw all plots into folder/plots; the files."""
    made = []
    groups = {}
    for place in figures.places():
        groups.setdefault((place.question, figures.units[place]), []).append(place)
    plots = folder / 'plots'
    plots.mkdir()
    for (question, unit), places in groups.items():
        whos = sorted({who for place in places for who in figures.values[place]},
                      key=lambda who: (who != OURS, who))
        data = plots / f'{question}_{unit.replace("/", "_per_")}.dat'
        out = data.with_suffix('.svg')
        data.write_text('\n'.join(_data(figures, places, whos)) + '\n', encoding='utf-8')
        columns = [f'"{data}" using {2 + 3 * i}:{3 + 3 * i}:{4 + 3 * i}'
                   f'{":xtic(1)" if i == 0 else ""} title "{who}"'
                   for i, who in enumerate(whos)]
        script = SCRIPT.format(out=out, title=question, unit=unit, plots=', '.join(columns),
                               better='more' if unit == MORE_IS_BETTER else 'lower',
                               width=max(760, 300 + 28 * len(places) * (1 + len(whos))))
        done = subprocess.run(['gnuplot'], input=script, capture_output=True, text=True,
                              check=False)
        if done.returncode == 0:
            made.append(out)
    return made
