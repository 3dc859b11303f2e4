# SPDX-License-Identifier: Apache-2.0
"""figures.py - runs a program, keeps the figures that it prints

A program, ours or a peer's, prints a JSON object a line:
    {"who": "go", "metric": "yield", "workers": 2, "unit": "ns", "median": 140}
and, where it has measured more than once, "values": [...]. Lower is better, but for what is
counted by the second (MORE_IS_BETTER).
"""
import collections
import json
import statistics
import subprocess

MORE_IS_BETTER = '1/s'  # the unit

Place = collections.namedtuple('Place', 'question metric workers')


def quantile(values, q):
    """The q-quantile, with a straight line between two values."""
    values = sorted(values)
    place = q * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


class Figures:
    """Every value that was taken, by place and by who; complaints about what did not work."""

    def __init__(self):
        self.values = {}
        self.units = {}
        self.complaints = []
        self.built_with = {}  # what our programs say of themselves

    def take(self, question, command, timeout_s, counted):
        """Run one program; keep its figures if counted. True if it worked."""
        command = [str(word) for word in command]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.complaints.append(f'{" ".join(command)}: not done after {timeout_s:.0f} s')
            return False
        if done.returncode:
            said = done.stderr.strip().splitlines()[-3:]
            self.complaints.append(f'{" ".join(command)}: ended with {done.returncode}: '
                                   f'{" / ".join(said)}')
            return False
        try:
            for line in done.stdout.splitlines():
                self.keep(question, json.loads(line), counted)
        except (ValueError, KeyError):
            self.complaints.append(f'{" ".join(command)}: printed what is no figure')
            return False
        return True

    def keep(self, question, figure, counted):
        """Keep one figure, as a program prints it."""
        place = Place(question, figure['metric'], figure['workers'])
        self.units[place] = figure['unit']
        self.built_with.update({what: figure[what] for what in ('compiler', 'flags')
                                if what in figure})
        by_who = self.values.setdefault(place, {})
        if counted:
            values = figure.get('values', [figure['median']])
            by_who.setdefault(figure['who'], []).extend(values)

    def median(self, place, who):
        """The median of what was taken, None if nothing was."""
        values = self.values[place].get(who)
        return statistics.median(values) if values else None

    def median_of(self, metric, who):
        """The median of a metric that has one place; None if nothing was taken."""
        places = [place for place in self.values if place.metric == metric]
        return self.median(places[0], who) if len(places) == 1 else None

    def places(self, question=None):
        """All places with a value, as they came: by question, then by metric."""
        return [place for place, by_who in self.values.items()
                if by_who and question in (None, place.question)]

    def records(self):
        """One object a place and who: what figures.jsonl holds."""
        for place in self.places():
            for who, values in self.values[place].items():
                yield {**place._asdict(), 'who': who, 'unit': self.units[place],
                       'min': min(values), 'median': statistics.median(values),
                       'p99': quantile(values, 0.99), 'values': values}
