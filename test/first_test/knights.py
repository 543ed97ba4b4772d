# Each element of the output becomes an input of the segments that follow.
set_output(["Lancelot", "Galahad"])
