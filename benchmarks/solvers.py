"""Encoder against other solvers, each timed to the same certified drop on the same spikes and threads.

Ten 1-s windows of a 30 kHz recording, true templates, non-negative codes, lambda 4, noise sd 1. The drop is
(F - F*) / (F(0) - F*): a relative objective would flatter everybody, since most of F* is noise energy. F* carries a
duality gap (benchmarks/certificate.py). For each solver and drop the smallest effort (iterations, or the loosest
tolerance) that reaches it is searched first, untimed; then that effort alone is timed, in turn with the others.
One-time work is left out for all: graph tracing, just-in-time compilation, the dictionary's largest eigenvalue.
CVXPY takes minutes, so it is timed once, over ``--windows`` windows; its time for all ten is then a labelled
extrapolation.
"""

from dataclasses import dataclass, field

import numpy as np

from benchmarks import common, other_solvers
from benchmarks.certificate import Problem
from benchmarks.reference_implementations import keras_encoder, numpy_fista

LAMBDA, WINDOWS = 4.0, 10
ITERATIONS = [*range(1, 60), *range(60, 150, 2), *range(150, 400, 5), *range(400, 1000, 20), *range(1000, 3001, 100)]
TOLERANCES = [float(f"{10 ** (-k / 10):.2g}") for k in range(1, 71)]
LGCD_TOLERANCES = [float(f"{10 ** (1 - k / 10):.2g}") for k in range(81)]  # of a coordinate's change: 1 is no bound
#: Loosest first, tried in turn on one window: each costs seconds to minutes.
CONVEX = {"CLARABEL": [float(f"{10 ** (-k / 2):.1g}") for k in range(17)], "OSQP": [10.0**-k for k in range(1, 9)]}
OURS = "CRsAE"
FISTA = {}  # effort found for each drop, by any solver that runs plain FISTA


@dataclass
class Solver:
    """A competitor: ``make(effort)`` returns ``encode(windows) -> code``."""

    name: str
    make: callable
    efforts: list = field(default_factory=lambda: ITERATIONS)
    # Solvers of one family have the same iterates: the effort of one is where the search of the next one starts.
    family: dict = field(default_factory=dict)

    def __post_init__(self):
        self.seen = {}

    def drop(self, problem, effort):
        if effort not in self.seen:
            self.seen[effort] = problem.drop(self.make(effort)(problem.windows.astype("float32")))
        return self.seen[effort]

    def effort_for(self, problem, target):
        guess = self.family.get(target) or max(self.family.values(), default=None, key=self.efforts.index)
        found = common.smallest_effort(self.efforts, lambda effort: self.drop(problem, effort) <= target, guess)
        if found is not None:
            self.family[target] = found
        return found


def ours(filters, name, tolerance=False, **options):
    """A solver of this package, or a reason why this release has it not."""
    _, missing = common.encoder_model(filters, 1, LAMBDA, **options, **({"tolerance": 1e-3} if tolerance else {}))
    if missing:
        return f"this release has no {', '.join(missing)}"
    made = {}

    def make(effort):
        if effort not in made:
            # With active=True the iterations serve each window in each round; the tolerance decides on the rounds.
            most = 200 if options.get("active") else 3000
            stop = {"iterations": most, "tolerance": effort} if tolerance else {"iterations": effort}
            model, _ = common.encoder_model(filters, lambda_reg=LAMBDA, **stop, **options)
            made[effort] = lambda windows: model.encode(windows[..., None])
        return made[effort]

    return Solver(name, make, TOLERANCES if tolerance else ITERATIONS, {} if tolerance else FISTA)


def plain_keras(filters):
    made = {}

    def make(effort):
        if effort not in made:
            encoders = {}

            def encode(windows):
                if len(windows) not in encoders:
                    encoders[len(windows)] = keras_encoder(filters, LAMBDA, effort, (*windows.shape, 1))
                return encoders[len(windows)](windows[..., None])

            made[effort] = encode
        return made[effort]

    return Solver("plain Keras conv/conv_transpose", make, family=FISTA)


def peer(name, solve, efforts=ITERATIONS, family=None):
    family = {} if family is None else family
    return Solver(name, lambda effort: lambda windows: solve(windows, effort), efforts, family)


def best_rho(filters, problem, threads):
    """The fixed rho that reaches 1e-3 in the fewest ADMM iterations, and its solver."""
    found = {}
    for rho in (0.1, 0.25, 0.5, 1.0, 2.0, 4.0):
        trial = peer("", other_solvers.sporco_admm(filters, LAMBDA, threads, rho))
        effort = trial.effort_for(problem, 1e-3)
        if effort is not None:
            found[effort] = rho
    return found[min(found)]


def competitors(filters, problem, first, threads):
    """Solvers, and rows of those that are absent."""
    lipschitz = problem.lipschitz
    wanted = {
        OURS: lambda: ours(filters, OURS),
        f"{OURS}, tolerance": lambda: ours(filters, f"{OURS}, tolerance", tolerance=True),
        f"{OURS}, active": lambda: ours(filters, f"{OURS}, active", tolerance=True, active=True),
        f"{OURS}, block_size=1": lambda: ours(filters, f"{OURS}, block_size=1", block_size=1),
        "plain Keras": lambda: plain_keras(filters),
        "NumPy FISTA": lambda: Solver("NumPy FISTA (fftconvolve)",
                                      lambda effort: numpy_fista(filters, LAMBDA, effort), family=FISTA),
        "alphacsc LGCD": lambda: peer("alphacsc LGCD", other_solvers.alphacsc(filters, LAMBDA, lipschitz, "lgcd"),
                                      LGCD_TOLERANCES),
        "alphacsc FISTA": lambda: peer("alphacsc FISTA", other_solvers.alphacsc(filters, LAMBDA, lipschitz, "fista"),
                                       family=FISTA),
        "SPORCO PGM": lambda: peer("SPORCO PGM", other_solvers.sporco_pgm(filters, LAMBDA, threads, lipschitz),
                                   family=FISTA),
        "SPORCO ADMM": lambda: (lambda rho: peer(f"SPORCO ADMM, rho {rho:g}", other_solvers.sporco_admm(
            filters, LAMBDA, threads, rho)))(best_rho(filters, first, threads)),
    }
    return _available(wanted)


def convex(filters, problem, limit):
    return _available({f"CVXPY {name}": lambda name=name: Convex(name, other_solvers.cvxpy(
        problem.matrix, filters, LAMBDA, name, limit), limit) for name in CONVEX})


class Convex:
    """A CVXPY solver; ``run`` gives (seconds, seconds inside the solver, drop) and remembers them."""

    def __init__(self, name, solve, limit):
        self.name, self.efforts, self.solve, self.limit, self.seen = f"CVXPY {name}", CONVEX[name], solve, limit, {}

    def run(self, problem, effort):
        key = len(problem.windows), effort
        if key not in self.seen:
            codes = []
            took = common.alternate({"run": lambda: codes.append(self.solve(problem.windows, effort))}, repeats=1)
            self.seen[key] = took["run"]["median"], self.solve.inner, problem.drop(codes[0])
        return self.seen[key]

    def reach(self, problem, first, target):
        """A row: the loosest tolerance that reaches the target on the first window, then on all given ones."""
        for effort in self.efforts:
            _, inner, drop = self.run(first, effort)
            if drop <= target:
                took, inner, drop = self.run(problem, effort)
                if drop <= target:
                    return {"solver": self.name, "effort": effort, "drop": drop, "took": took, "inner": inner}
            elif inner >= 0.95 * self.limit:
                break
        return {"solver": self.name, "note": f"did not reach {target:g} in {self.limit:g} s a window: {drop:.1e}"}


def _available(wanted):
    found, absent = [], []
    for name, make in wanted.items():
        try:
            solver = make()
        except ImportError:
            solver = common.NOT_INSTALLED
        (absent if isinstance(solver, str) else found).append((name, solver) if isinstance(solver, str) else solver)
    return found, absent


def time_convex(solvers, problem, first, target):
    """One timed run each, over the problem's windows; fewer than all are scaled up and say so."""
    rows, count = [], len(problem.windows)
    for solver in solvers:
        row = solver.reach(problem, first, target)
        if "took" in row:
            scaled = row["took"] * WINDOWS / count
            row |= {"median": scaled, "minimum": scaled, "runs": 1, "windows": count,
                    "note": f"{row['inner'] * WINDOWS / count:.3g} s in the solver alone"}
            if count != WINDOWS:
                row["note"] += f"; extrapolated from {count} window(s) of {WINDOWS}: {row['took']:.3g} s"
        rows.append(row)
    return rows


def time_solvers(solvers, problem, target, repeats, budget):
    """Rows of dicts: effort, drop reached, seconds."""
    rows, runs = [], {}
    signal = problem.windows.astype("float32")
    for solver in solvers:
        effort = solver.effort_for(problem, target)
        if effort is None:
            rows.append({"solver": solver.name, "note": f"did not reach {target:g}"})
            continue
        encode = solver.make(effort)
        encode(signal)
        runs[solver.name] = lambda encode=encode: encode(signal)
        rows.append({"solver": solver.name, "effort": effort, "drop": solver.seen[effort]})
    times = common.alternate(runs, repeats, budget)
    return [{**row, **times.get(row["solver"], {})} for row in rows]


def show(rows, absent, arguments, target, certified):
    base = min((r["median"] for r in rows if r["solver"].startswith(OURS) and "median" in r), default=None)
    printed = []
    for row in sorted(rows, key=lambda r: r.get("median", np.inf)):
        if "median" not in row:
            printed.append([row["solver"], *[""] * 5, row["note"]])
            continue
        ratio = row["median"] / base if base else np.nan
        printed.append([row["solver"], f"{row['effort']:g}", f"{row['drop']:.2e}", common.seconds(row["median"]),
                        common.seconds(row["minimum"]), f"{ratio:.3g}", row.get("note", "")])
    printed += [[name, *[""] * 5, why] for name, why in absent]
    title = f"time to a drop of {target:g} (F* certified to {certified:.0e} of the drop's unit)"
    return common.report("solvers", arguments, ["solver", "effort", "drop reached", "median time", "minimum",
                                                "times our fastest", "note"], printed, rows, title)


def main():
    parser = common.parser(__doc__, threads=1)
    parser.add_argument("--windows", type=int, default=None, help="windows CVXPY solves, 0 to 10; None: 10 (short: 1)")
    arguments = parser.parse_args()
    windows = (1 if arguments.short else WINDOWS) if arguments.windows is None else arguments.windows
    if not 0 <= windows <= WINDOWS:
        parser.error(f"--windows must lie between 0 and {WINDOWS}")
    common.limit_threads(arguments.threads)
    described = common.machine(arguments.threads)
    signal, filters, origin = common.recording(WINDOWS)
    problem = Problem(signal.reshape(WINDOWS, -1), filters, LAMBDA)
    first = Problem(problem.windows[:1], filters, LAMBDA)
    print(f"data: {origin}; {WINDOWS} windows of {problem.windows.shape[1]} samples, filters {filters.shape}")
    solvers, absent = competitors(filters, problem, first, arguments.threads)
    slow, slow_absent = convex(filters, problem, 60.0 if arguments.short else 120.0)
    targets, repeats, budget = ((1e-2, 1e-3), 3, 3.0) if arguments.short else ((1e-2, 1e-3, 1e-4), 7, 20.0)
    part = Problem(problem.windows[:windows], filters, LAMBDA) if windows else None
    sections = []
    for target in targets:
        rows = time_solvers(solvers, problem, target, repeats, budget)
        if windows:
            rows += time_convex(slow, part, first, target)
        sections.append(show(rows, absent + slow_absent, arguments, target, problem.certified))
    common.save("solvers", arguments, described, sections)


if __name__ == "__main__":
    main()
