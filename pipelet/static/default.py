# A segment is one step of the pipeline: a plain script. It runs once for each of its inputs, and each such run is a
# task. The functions used below stand ready in every segment, there is nothing to import for them.
#
# main.py runs this script twice over: for the segment default1, with the inputs 1, 2 and 3, and for default2, with what
# default1 gives. Copy it to a name of your own, and keep the lines that you need.

# --- Directives: comments that Pipelet reads, when they stand at the beginning of a line -----------------------------

# How the outputs of several parents become inputs. Each combination is the default:
#multiplex cross_prod
#
# Other ways (a and b are names of parents, which stand for their elements in expressions):
#     multiplex union                        each element of any parent, one at a time
#     multiplex zip                          the first elements of all parents, the second ones, ...
#     multiplex cross_prod where a[0] == b   only some combinations
#     multiplex cross_prod group_by a[0]     one task for all the elements with the same a[0]
#
# And files that this segment needs: a copy is kept with the results, and when they change the segment runs again.
#     depend mylibrary.py tables/*.txt
# To use one of these lines, take away the blanks after its #.

# --- What comes in ---------------------------------------------------------------------------------------------------

number = get_input()  # from the first parent, or what main.py pushed; get_input("default1") names the parent
is_first = "default1" not in seg_input  # seg_input is the dictionary {name of parent: element}

# --- Messages: print and logger, both go to the log of the task ------------------------------------------------------

logger.info("the input is %s", number)

# --- Files -----------------------------------------------------------------------------------------------------------

# Each task has a directory of its own; get_data_fn gives the path of a file in it.
with open(get_data_fn("result.txt"), "w") as file:
    file.write(f"{number}\n")

# A file name for scratch data, gone when the task ends.
with open(get_tmp_fn(), "w") as file:
    file.write("not to be kept\n")

# Variables can be saved and read back (with pickle).
squares = {n: n**2 for n in range(10)}
save_products("squares.pkl", globals(), ["squares"])
load_products("squares.pkl", globals(), ["squares"])

# --- Parameters: kept beside the results, and known to the segments that come after ----------------------------------

exponent = 2 if is_first else 3
result = number**exponent
save_param(["exponent"])
expose(["result"])  # this one is shown in the web page as well

# --- Other programs: they run in the directory of the task; what they print is in ls.log and ls.err ------------------

logged_subprocess(["ls", "-l"])

# --- Hooks: one script for many segments, with a part that differs ---------------------------------------------------

# Runs default1_plot.py for default1, or default_plot.py for both. A hook without a script does nothing.
hook("plot", globals())

# --- Figures: there is no window, save them ---------------------------------------------------------------------------

# import matplotlib.pyplot as plt
# plt.plot(list(squares), list(squares.values()))
# plt.savefig(get_data_fn("squares.png"))
# plt.close()

# --- What the parents left -------------------------------------------------------------------------------------------

if not is_first:
    with open(get_data_fn("result.txt", "default1")) as file:  # a file of the task that this one descends from
        logger.info("default1 had the input %s", file.read().strip())
    for path in glob_parent("*.txt"):  # files of all the direct parent tasks, whatever their names
        logger.info("found %s", path)
    load_param("default1", globals(), ["exponent"])  # a parameter of the task that this one descends from
    logger.info("default1 used the exponent %s", exponent)
    # glob_seg("default1", "*.txt") would search all the tasks of default1, also those that this one does not
    # descend from. It waits for all of them, and any change among them runs this task again: use it seldom.

# --- What goes out ---------------------------------------------------------------------------------------------------

# Each element of the list becomes an input of the segments that follow; something else than a list is one element.
# Keep it small: it says which data there are, the data themselves belong into files. Writing to the variable
# seg_output, a list, does the same.
set_output([result])
