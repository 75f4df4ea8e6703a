from ._conclusion import conclusion
from ._csv import unescaped, write_csv
from ._evaluate import load_scvi, run_evaluation, with_genes_of
from ._family import Family, run_meta, with_columns_of, write_meta
from ._figures import Picture
from ._h5ad import write_h5ad
from ._machine import summary_json
from ._pipeline import Study, called, resolve_device, run_genes, run_reads, run_study, run_tuning, select
from ._publish import Incomplete, staged
from ._read import read
from ._report import report_html
from ._reproduce import Reproduction, reproduce
from ._source import Source, source_of
from ._summaries import read_genes, read_summaries
from ._summary import summary
from ._writable import writable
from ._write import parts, write_study, write_tuning

__all__ = [
    "Family",
    "Incomplete",
    "Picture",
    "Reproduction",
    "Source",
    "Study",
    "called",
    "conclusion",
    "load_scvi",
    "parts",
    "read",
    "read_genes",
    "read_summaries",
    "report_html",
    "reproduce",
    "resolve_device",
    "run_evaluation",
    "run_genes",
    "run_meta",
    "run_reads",
    "run_study",
    "run_tuning",
    "select",
    "source_of",
    "staged",
    "summary",
    "summary_json",
    "unescaped",
    "with_columns_of",
    "with_genes_of",
    "writable",
    "write_csv",
    "write_h5ad",
    "write_meta",
    "write_study",
    "write_tuning",
]
