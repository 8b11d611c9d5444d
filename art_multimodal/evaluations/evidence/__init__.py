"""Evidence: what an audit found, with every sample that it was found on, so that others can ask the model again.

======================  ===============================================================================================
module                  what it is about
======================  ===============================================================================================
``keeping``             hands samples of an audit to files, batch by batch, while it runs
``fixtures``            what such files hold: arrays without loss, and texts
``manifest``            the list of all files with their digests, and the check of a folder against it
``bundle``              a folder of evidence: how it is closed, and how it is read by one who trusts nothing in it
``reports``             the report, its pages and the plan against the log
``distances``           how far samples were moved, against what the run declares
``rescoring``           a model is asked about all samples again, and compared with what the log says
``comparing``           two audits of the same samples: what changed, row by row
======================  ===============================================================================================
"""
