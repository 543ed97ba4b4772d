"""Showing products, a module a kind. All of them may be hostile.

`views` decides and gives what a template needs. What a library parses (pictures, arrays, FITS), what may take long
(highlighting, large JSON) and pickles are looked at in a process of their own (`limited`, `child`) that may use only so
much time and memory, write no file and start no process. It costs a tenth of a second, so thumbnails are remembered.
Text, tables and the first bytes of anything are read here: a bounded part, by code that can't take long.
"""
