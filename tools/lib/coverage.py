# SPDX-License-Identifier: Apache-2.0
"""What the tests ran of bus/, out of gcov's counters: coverage.py BUILD-FOLDER LINES BRANCHES.

Prints lines and branches by file, the least covered last, and fails below LINES or BRANCHES per cent. The lines
nobody ran go to BUILD-FOLDER/uncovered.txt, one file a line. Not counted are the branches inside the macros of uthash
and utlist (buckets, growing, walking), which gcov sees once more at each place that uses one, although they are that
library's and not ours; their lines count. Branches that only allocation failure takes count as well.
"""
import collections
import glob
import json
import os
import re
import subprocess
import sys

LIBRARY_MACROS = re.compile(r"^\s*(HASH_(ADD|FIND|DEL|DELETE|ITER|REPLACE|SRT|CLEAR)\w*|(DL|LL|CDL)_\w+)\(")


def reports(build):
    """Every source file of every object, as gcov tells it; an object that never ran has no counters."""
    objects = sorted(glob.glob(build + "/bus/**/*.gcno", recursive=True))
    if not objects:
        sys.exit("coverage: nothing was built in " + build + "/bus with AICO_COVERAGE")
    out = subprocess.run(["gcov", "-b", "-j", "-t"] + objects, cwd=build, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, check=False).stdout
    for line in out.decode(errors="replace").splitlines():
        if line.startswith("{"):
            document = json.loads(line)
            for report in document["files"]:
                yield os.path.normpath(os.path.join(document["current_working_directory"], report["file"])), report


def collect(build, root):
    """{file: ({line: runs}, {line: [runs of each branch]})}; what headers inline is in several objects."""
    files = collections.defaultdict(lambda: ({}, {}))
    for path, report in reports(build):
        if not path.startswith(root + "/bus/"):
            continue
        lines, branches = files[os.path.relpath(path, root)]
        for line in report["lines"]:
            number = line["line_number"]
            lines[number] = lines.get(number, 0) + line["count"]
            runs = [branch["count"] for branch in line["branches"] if not branch["throw"]]
            before = branches.get(number, [])
            if len(before) == len(runs):
                branches[number] = [a + b for a, b in zip(before, runs)]
            elif len(before) < len(runs):
                branches[number] = runs
    for name, (_, branches) in files.items():
        with open(os.path.join(root, name), encoding="utf-8") as source:
            text = source.read().split("\n")
        for number in [n for n in branches if LIBRARY_MACROS.match(text[n - 1])]:
            del branches[number]
    return files


def ratio(part, whole):
    return 100.0 * part / whole if whole else 100.0


def main():
    build, least_lines, least_branches = os.path.realpath(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    root = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
    rows = []
    with open(build + "/uncovered.txt", "w", encoding="utf-8") as uncovered:
        for name, (lines, branches) in sorted(collect(build, root).items()):
            runs = [count for of_line in branches.values() for count in of_line]
            rows.append((name, sum(map(bool, lines.values())), len(lines), sum(map(bool, runs)), len(runs)))
            print(name + ":", *sorted(n for n, count in lines.items() if not count), file=uncovered)
    for name, ran, lines, taken, branches in sorted(rows, key=lambda row: row[3] - row[4], reverse=True):
        print("%-44s lines %5.1f %% of %5d   branches %5.1f %% of %5d"
              % (name, ratio(ran, lines), lines, ratio(taken, branches), branches))
    ran, lines, taken, branches = (sum(row[i] for row in rows) for i in range(1, 5))
    print("bus/: lines %.1f %% of %d, branches %.1f %% of %d; %s/uncovered.txt names the lines"
          % (ratio(ran, lines), lines, ratio(taken, branches), branches, sys.argv[1]))
    if ratio(ran, lines) < least_lines or ratio(taken, branches) < least_branches:
        sys.exit("coverage: below %g %% of lines or %g %% of branches" % (least_lines, least_branches))


main()
