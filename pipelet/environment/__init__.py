"""What a segment sees: the functions and variables that stand ready in its namespace.

`Environment` may be subclassed: each public method of the subclass becomes a function in the segments::

    class MyEnvironment(Environment):
        def region(self):
            return self.get_input()[0]

    P = Pipeline(pipedot, env=MyEnvironment)
"""

from __future__ import annotations

from pipelet.environment.base import EnvironmentBase
from pipelet.environment.full import Environment
from pipelet.environment.mainmodule import step_in, step_out
from pipelet.environment.values import binder, pickle_output

__all__ = ["Environment", "EnvironmentBase", "binder", "pickle_output", "step_in", "step_out"]
