"""Other packages' solvers behind one interface: an effort in, a code (windows, positions, filters) out.

Each maker returns ``solve(windows, effort)``; ImportError where the package is missing. Settings are each package's
fast ones: single precision where it has it, no statistics, fixed step size, no line search.
"""

import numpy as np


def alphacsc(filters, lambda_reg, lipschitz, solver):
    """alphacsc's ``lgcd`` (effort: tolerance) or ``fista`` at the step 1 / L (effort: iterations); float64."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's remarks on the package's own loops, while it compiles them
        from alphacsc.update_z_multi import update_z_multi

    atoms = np.ascontiguousarray(np.transpose(filters, (2, 1, 0)), np.float64)

    def solve(windows, effort):
        options = {"tol": effort} if solver == "lgcd" else {
            "max_iter": effort, "step_size": 1 / lipschitz, "adaptive_step_size": False, "tol": 0.0}
        code, _, _ = update_z_multi(np.asarray(windows, np.float64)[:, None], atoms, lambda_reg, solver=solver,
                                    solver_kwargs=options)
        return np.moveaxis(code, 1, 2)

    return solve


def sporco_admm(filters, lambda_reg, threads, rho):
    """SPORCO's ConvBPDN by ADMM at a fixed rho (effort: iterations), float32."""
    import sporco.fft
    from sporco.admm import cbpdn

    sporco.fft.pyfftw_threads = threads
    return _sporco(cbpdn.ConvBPDN, filters, lambda_reg, {"rho": rho, "AutoRho": {"Enabled": False}})


def sporco_pgm(filters, lambda_reg, threads, lipschitz):
    """SPORCO's ConvBPDN by accelerated proximal gradient at the step 1 / L (effort: iterations), float32."""
    import sporco.fft
    from sporco.pgm import cbpdn

    sporco.fft.pyfftw_threads = threads
    return _sporco(cbpdn.ConvBPDN, filters, lambda_reg, {"L": lipschitz})


def _sporco(kind, filters, lambda_reg, options):
    size = len(filters)
    atoms = np.ascontiguousarray(filters[:, 0], np.float32)
    # Filters that would wrap round the end are excluded, which leaves exactly our problem.
    options = {"Verbose": False, "FastSolve": True, "NonNegCoef": True, "NoBndryCross": True,
               "DataType": np.float32, **options}

    def solve(windows, effort):
        made = kind.Options({**options, "MaxMainIter": effort})
        signal = np.ascontiguousarray(np.asarray(windows, np.float32).T)
        code = kind(atoms, signal, lambda_reg, made, dimK=1, dimN=1).solve()
        return np.moveaxis(code.reshape(len(signal), len(windows), -1), 0, 1)[:, :len(signal) - size + 1]

    return solve


#: Options of the CVXPY solvers for one tolerance and a time limit in seconds.
_CVXPY = {"CLARABEL": lambda e, limit: {"tol_gap_abs": e, "tol_gap_rel": e, "tol_feas": e, "time_limit": limit},
          "OSQP": lambda e, limit: {"eps_abs": e, "eps_rel": e, "max_iter": 100000, "time_limit": limit}}


def cvxpy(matrix, filters, lambda_reg, solver, limit):
    """CVXPY on the sparse dictionary matrix, one problem a window (effort: tolerance), float64.

    A window that takes more than ``limit`` seconds in the solver gets what it has by then. ``solve.inner`` holds the
    seconds inside the solver alone at the last call, without CVXPY's own compilation of the problem.
    """
    import warnings

    import cvxpy as cp

    if solver not in cp.installed_solvers():
        raise ImportError(solver)
    positions = matrix.shape[0] - len(filters) + 1

    def solve(windows, effort):
        codes = []
        solve.inner = 0.0
        for y in np.asarray(windows, np.float64):
            z = cp.Variable(matrix.shape[1], nonneg=True)
            problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(y - matrix @ z) + lambda_reg * cp.sum(z)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "solution may be inaccurate": the drop is checked by the caller
                try:
                    problem.solve(solver=solver, **_CVXPY[solver](effort, limit))
                except cp.error.SolverError:
                    pass  # nothing came back: the zero code, which reaches no drop
            if problem.solver_stats is not None:
                solve.inner += problem.solver_stats.solve_time or 0.0
            value = np.zeros(matrix.shape[1]) if z.value is None else np.maximum(z.value, 0)
            codes.append(value.reshape(filters.shape[-1], positions).T)
        return np.stack(codes)

    return solve
