"""A live page about runs, for a browser on this machine. Needs the extra serve; knows no model.

    catalogue   folders -> the runs in them, each under an id
    table       a run's records -> pages of transcripts: an index in memory, the texts left on disk
    views       what is shown of runs and records, as the API returns it
    playground  one prompt to a model, one at a time; what opens models comes from whoever starts the server
    desk        what the routes ask for: how far each run has been read
    guard       who may ask what: names served, same origin, token, sizes, rates, headers
    app         the routes
    server      socket, token and address
    pages/      HTML, style and script, as they are sent

A run folder may be a stranger's and a reply is hostile text. Files are read by `rundir`, which follows no link,
and shown as text; nothing in a request is ever a path. No page loads from another host or holds a script.
"""

from sirl.serve.catalogue import Catalogue
from sirl.serve.desk import Desk
from sirl.serve.guard import Limits
from sirl.serve.playground import Ask, Playground, Speaker
from sirl.serve.server import PORT, Bound, bind

__all__ = ["PORT", "Ask", "Bound", "Catalogue", "Desk", "Limits", "Playground", "Speaker", "bind"]
