"""What turns batches into results: in this process, in local processes, on other machines."""
