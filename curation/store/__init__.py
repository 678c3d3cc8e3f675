"""Everything that is kept between two commands, in one database. The only place that speaks SQL.

`tables` is the schema, `database` opens it; the other modules are verbs of our domain, one module
for each thing that is kept. Steps call the verbs and never see a connection.
"""
