"""From a name or a path to a corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pooch
import torch

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.download import data_folder
from ppl_vae.data.readers.arrays import holds_arrays, read_npy, read_npz
from ppl_vae.data.readers.binarized_mnist import read_binarized_mnist
from ppl_vae.data.readers.csr import read_csr
from ppl_vae.data.readers.csv import read_table
from ppl_vae.data.readers.docstrings import read_docstrings
from ppl_vae.data.readers.idx import is_idx_folder, padded, read_idx, read_idx_folder
from ppl_vae.data.readers.images import dequantised, holds_images, read_images
from ppl_vae.data.readers.matlab import is_matlab_folder, read_matlab
from ppl_vae.data.readers.mnist import read_mnist, shrunk
from ppl_vae.data.readers.newsgroups import read_newsgroups
from ppl_vae.data.readers.svmlight import read_svmlight
from ppl_vae.data.readers.text_file import plain_name
from ppl_vae.data.readers.texts import read_folder
from ppl_vae.data.readers.uci import read_uci
from ppl_vae.data.source import Source
from ppl_vae.data.splits import prepare
from ppl_vae.data.synthetic import bars, channel, gaussians, manifold, rectangles, sphere

__all__ = ["CORPORA", "DOCUMENTS", "TENSORS", "data_of", "load_corpus"]

DOCUMENTS: dict[str, str] = {
    "docstrings": "docstrings of the installed scientific packages, labelled by package; needs no network",
    "20news": "20 Newsgroups sorted by date: 11,269 training and 7,505 test posts in 20 groups; fetched once",
    "FILE.npz": "SciPy sparse counts, a row a document; vocabulary.txt and labels.txt beside it if there are any",
    "FILE.svm": "SVMlight lines 'label word:count ...' (also .svmlight, .libsvm)",
    "docword.NAME.txt": "UCI bag of words, with vocab.NAME.txt beside it",
    "FILE.csv": "a table with a column 'text' and perhaps 'label' and 'split' (also .tsv)",
    "FOLDER/": "a folder of .txt files, sub-folders are labels, or splits if called train, validation and test; "
    "or the files train.data, train.label, ... of the Matlab layout (also as a .tgz)",
}
"""Corpora of documents that :func:`load_corpus` takes, and a line about each: names, then forms of files."""

TENSORS: dict[str, str] = {
    "gaussians": "points drawn from four Gaussians in the plane, (2,); needs no network",
    "manifold": "points near a curve in the plane with three sizes of noise, (2,); needs no network",
    "bars": "bars and stripes, 4 x 4 binary images, (16,); needs no network",
    "rectangles": "rectangles with a fiftieth of all pixels flipped, binary images, (10, 10); needs no network",
    "channel": "a noisy bit as one of 30 levels, one-hot, (30,); needs no network",
    "mnist": "60,000 and 10,000 handwritten digits, values in [0, 1], (28, 28); fetched once",
    "mnist8": "the digits averaged down to 8 x 8, values in [0, 1], (64,)",
    "mnist8_binary": "the same, 0 or 1, (64,)",
    "binarized_mnist": "50,000, 10,000 and 10,000 digits, each pixel drawn once, 0 or 1, (28, 28); fetched once",
    "sphere": "points uniform on the unit sphere in space, (3,); needs no network",
    "sphere2": "the same on a circle, (2,)",
    "sphere10": "the same in ten dimensions, (10,)",
    "sphere50": "the same in fifty, (50,)",
    "FILE.npy": "an array (data, ...) of numbers",
    "ARRAYS.npz": "arrays of numbers called train and perhaps validation and test",
    "FILE-idx3-ubyte": "images in the format of MNIST, bytes over 255, with labels beside them (also .gz)",
    "IDX/": "a folder with the four files of MNIST or a relative, such as train-images-idx3-ubyte.gz",
    "IMAGES/": "a folder of .png, .jpg, ... files, bytes over 255, (height, width) or (3, height, width); "
    "sub-folders are labels, or splits if called train, validation and test",
}
"""The same for tensors, with the shape of a datum."""

CORPORA = DOCUMENTS | TENSORS
"""All that :func:`load_corpus` takes."""

_Reader = Callable[[Path], Source]

_NAMED: dict[str, _Reader] = {
    "docstrings": lambda cache: read_docstrings(cache),
    "20news": lambda cache: read_newsgroups(data_folder(cache)),
    "gaussians": lambda cache: gaussians(),
    "manifold": lambda cache: manifold(),
    "bars": lambda cache: bars(),
    "rectangles": lambda cache: rectangles(),
    "channel": lambda cache: channel(),
    "mnist": lambda cache: read_mnist(data_folder(cache)),
    "mnist8": lambda cache: shrunk(read_mnist(data_folder(cache))),
    "mnist8_binary": lambda cache: shrunk(read_mnist(data_folder(cache)), binary=True),
    "binarized_mnist": lambda cache: read_binarized_mnist(data_folder(cache)),
    "sphere": lambda cache: sphere(3),
    "sphere2": lambda cache: sphere(2),
    "sphere10": lambda cache: sphere(10),
    "sphere50": lambda cache: sphere(50),
}


def load_corpus(
    name: str = "docstrings",
    *,
    vocabulary: int = 10_000,
    validation: float = 0.1,
    seed: int = 0,
    dequantise: bool = False,
    image_size: int = 0,
    cache: Path | None = None,
) -> Corpus:
    """Loads documents as word counts, or other data as tensors, in three splits.

    The words kept are those that occur in the most documents of the full training split, ties by word id;
    validation documents are training documents by origin, held out after that choice. Without a test split
    of its own, a source gives a tenth of its data to the test, the same ones for every seed.
    Documents without a word that was kept are dropped. ``notes`` of the result tells of all this.

    Arguments:
        name: A name of :data:`CORPORA` or the path of a file or folder. A name wins over a path: a folder called
            ``docstrings`` is ``./docstrings``. Text files may be compressed (``.gz``, ``.xz``).
        vocabulary: How many words to keep at most; means nothing for tensors.
        validation: The fraction of the training data to hold out, in ``[0, 1)``.
        seed: Chooses the validation data. The global random state is neither used nor changed.
        dequantise: Whether bytes b over 255 become (b + u) / 256 with u uniform in [0, 1): their log-density is then a
            bound on the log-probability of the bytes.
        image_size: Height and width that the images of a folder are brought to, and those of MNIST and IDX files
            by a margin of zeros; 0 leaves them as they are.
        cache: Folder for what is found or fetched once, by default the user's cache folder. Data sets are looked
            for and fetched to the folder that the environment variable ``PPL_VAE_DATA`` names, if it is set.

    Raises:
        ValueError: If the name is unknown, an argument out of range, the data are missing, malformed or
            cannot be fetched, or a split ends without data.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "poems.csv"
        ...     _ = path.write_text("text,split\\nrose is a rose,train\\nis a rose,validation\\na rose is,test\\n")
        ...     corpus = load_corpus(str(path))
        >>> corpus.vocabulary
        ('is', 'rose')
        >>> corpus.train.values.lengths
        tensor([3.])
        >>> load_corpus("bars").train.values.shape
        torch.Size([9000, 16])
    """
    try:
        reader = None if name in _NAMED else _reader(name)
        digits = name == "mnist" or reader in (read_idx, read_idx_folder)
        if image_size and not digits and reader is not read_images:
            raise ValueError(
                f"{name} is neither MNIST, nor IDX files, nor a folder of images, which alone are brought to a size; "
                "leave --image-size out"
            )
        if reader is None:
            source = _NAMED[name](cache or Path(pooch.os_cache("ppl-vae")))
        else:
            source = (partial(reader, size=image_size) if reader is read_images else reader)(Path(name))
        if image_size and digits:
            source = padded(source, image_size)
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({error}); check the path and its permissions") from error
    if dequantise:
        if source.words:
            raise ValueError(f"{name} holds documents, which are not dequantised; leave --dequantise out")
        # The noise belongs to the data: the same whatever the seed, so that test figures can be compared.
        noisy = {
            split: replace(part, values=dequantised(part.values, name, place))
            for place, (split, part) in enumerate(sorted(source.splits.items()))
        }
        source = replace(source, splits=noisy)
    return prepare(str(name), source, vocabulary=vocabulary, validation=validation, seed=seed)


def data_of(name: str) -> type:
    """The kind of batch a corpus gives, known without loading it: packed counts or tensors.

    Raises:
        ValueError: If the name is unknown, listing the choices.

    Example:
        >>> data_of("20news").__name__, data_of("mnist").__name__
        ('PackedCounts', 'Tensor')
    """
    tensors = name in TENSORS if name in _NAMED else _reader(name) in _OF_TENSORS
    return torch.Tensor if tensors else PackedCounts


_OF_TENSORS: tuple[_Reader, ...] = (read_npy, read_npz, read_idx, read_idx_folder, read_images)


def _reader(name: str) -> _Reader:
    path = Path(name)
    if path.is_dir():
        if is_matlab_folder(path):
            return read_matlab
        return read_idx_folder if is_idx_folder(path) else read_images if holds_images(path) else read_folder
    plain = plain_name(path)
    if plain.startswith("docword.") and plain.endswith(".txt"):
        return read_uci
    readers: dict[tuple[str, ...], _Reader] = {
        (".npz",): read_npz if holds_arrays(path) else read_csr,
        (".npy",): read_npy,
        ("idx3-ubyte",): read_idx,
        (".svm", ".svmlight", ".libsvm"): read_svmlight,
        (".csv", ".tsv"): read_table,
        (".tgz", ".tar"): read_matlab,
    }
    for endings, reader in readers.items():
        if plain.endswith(endings):
            return reader
    kinds = "".join(f"\n  {form}  {line}" for form, line in CORPORA.items())
    there = "is of no format that is read" if path.exists() else "is neither a corpus nor a file or folder"
    raise ValueError(f"{name!r} {there}; give one of{kinds}")
