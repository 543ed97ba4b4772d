"""The web pages: what stands on disk and in the database, for people with a browser.

Nothing here runs a task. `handlers` has a module a page, HTTP in and a template out; `queries` makes what a page shows;
`viewers` draws products, a module a kind; `auth` says who may see what.
"""
