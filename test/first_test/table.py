# Runs once for each knight, with all the titles that begin with his name.
#multiplex cross_prod group_by "melt.split()[0]"
knight = get_input()
titles = get_input("melt")

# A parameter that all these tasks of melt have in common, and the files that they left.
load_param("melt", globals(), ["separator"])
qualities = []
for path in glob_parent("result.txt"):
    with open(path) as file:
        qualities.append(file.read().strip().split(separator, 1)[1])

with open(get_data_fn("seat.txt"), "w") as file:
    file.write(f"{knight}: {', '.join(sorted(qualities))}\n")
save_products("titles.pkl", globals(), ["knight", "titles"])

set_output(f"{knight} has {len(titles)} titles")
