"""Equations as MathML, which browsers draw themselves: pages need no script and nothing from elsewhere."""

from docutils.nodes import SkipNode
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)


def _visitor(as_block):
    def visit(writer, node):
        try:
            writer.body.append(tex2mathml(node.astext(), as_block=as_block))
        except MathError as error:
            logger.warning("equation %r: %s", node.astext(), error, location=node)
        raise SkipNode

    return visit


def setup(app):
    app.add_html_math_renderer("mathml", (_visitor(False), None), (_visitor(True), None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
