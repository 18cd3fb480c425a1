"""Names in code become links to the reference: `nn.Linear`, `F.relu`, `dl.manual_seed(0)`.

A name that begins like one of the library's but that the reference does not have is a warning: it went out of use.
"""

import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)
_NAME = re.compile(r"([A-Za-z]\w*(?:\.[A-Za-z]\w*)*)(?:\(.*\))?", re.DOTALL)
_SHORT = {"dl": "dlfast", "F": "dlfast.functional", "lr_scheduler": "dlfast.optim.lr_scheduler"}
_MODULES = ("data", "functional", "init", "inspect", "io", "memory", "models", "nn", "optim", "sklearn", "train")


class Links(SphinxPostTransform):
    default_priority = 5

    def run(self, **kwargs):
        objects = self.env.get_domain("py").objects
        for node in list(self.document.findall(nodes.literal)):
            match = _NAME.fullmatch(node.astext())
            if match and not isinstance(node.parent, nodes.reference):
                self._link(node, match[1], objects)

    def _link(self, node, name, objects):
        full = _full_name(name, objects)
        if full in objects:
            target = objects[full]
            builder, here = self.app.builder, self.env.docname
            node.replace_self(make_refnode(builder, here, target.docname, target.node_id, node.deepcopy(), full))
        elif full and not full.endswith((".data", ".grad")):
            logger.warning("%s is not in the reference", name, location=node)


def _full_name(name, objects):
    """dlfast.nn.Linear for nn.Linear and, where it is the only one, for Linear; None for what is not the library's."""
    head, _, rest = name.partition(".")
    if rest:
        if head in _MODULES:
            return f"dlfast.{name}"
        if head in _SHORT:
            return f"{_SHORT[head]}.{rest}"
    if name[0].isupper():
        found = [full for full in objects if full.endswith(f".{name}")]
        return found[0] if len(found) == 1 else None
    return name if name in objects else None


def setup(app):
    app.add_post_transform(Links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
