"""Document converter: edits a text with a sed expression, fills in a template, lays it out, keeps a record.

A small service as many have one, with the flaws that such services have (each is named where it is). It is the
demo's victim: it knows nothing of Ringfence, and nothing in it is there for Ringfence's sake.

Event: `document` (text) or `source` (URL), and optionally `edit` (sed expression), `template`, `width`, `name`
(under which the result can be had again), `customer`.
"""

from converter import edit, layout, records, sources, template, workspace


def handler(event, context):
    name = event.get("name", "untitled")
    text = document(event, name)
    if "edit" in event:
        text = edit.apply(event["edit"], text)
    if "template" in event:
        text = template.render(
            event["template"],
            {"text": text, "lines": text.splitlines(), "customer": event.get("customer"), "job": context.aws_request_id},
        )
    if "width" in event:
        text = layout.fold(text, int(event["width"]))
    workspace.keep(name, text)
    return {
        "name": name,
        "text": text,
        "lines": len(text.splitlines()),
        "recorded": records.add(context.aws_request_id, name, len(text)),
        "sources": sources.cached(),
    }


def document(event, name):
    """The text to work on: given, fetched, or what was last converted under this name."""
    if "document" in event:
        return event["document"]
    if "source" in event:
        return sources.fetch(event["source"])
    # Flaw: whoever knows (or guesses) a name gets the document, whosever it is.
    return workspace.last(name)
