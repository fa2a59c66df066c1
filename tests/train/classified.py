"""Small data sets of classes in every form that is read: JPEGs in an .npz, the published batches, folders."""

import pickle
import struct

import cv2
import numpy as np
import simplejpeg

CLASSES = ("airplane", "automobile", "bird")


def smooth(count, side=32, seed=0, quality=75):
    """JPEG files of one header, of random colours that are not noise, and what they decode to."""
    rng = np.random.default_rng([seed, side])
    coarse = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    files = [
        simplejpeg.encode_jpeg(cv2.resize(each, (side, side), interpolation=cv2.INTER_LINEAR), quality)
        for each in coarse
    ]
    return files, np.stack([simplejpeg.decode_jpeg(file) for file in files])


def labels_of(count, classes=CLASSES):
    """All classes in turn."""
    return np.arange(count) % len(classes)


def write_jpegs(path, files, labels, classes=CLASSES):
    """An .npz of JPEG files that share one header."""
    scan = files[0].index(b"\xff\xda")
    end = scan + 2 + struct.unpack(">H", files[0][scan + 2 : scan + 4])[0]
    assert all(file[:end] == files[0][:end] for file in files)
    bodies = [file[end:] for file in files]
    np.savez(
        path,
        header=np.frombuffer(files[0][:end], np.uint8),
        body=np.frombuffer(b"".join(bodies), np.uint8),
        offsets=np.cumsum([0, *map(len, bodies)]).astype(np.int32),
        labels=np.asarray(labels, np.uint8),
        classes=np.array(classes),
    )
    return path


class Python2(pickle._Pickler):
    """Writes as Python 2 did: what is text or bytes here was one string of bytes there."""

    def save_string(self, text):
        content = text.encode() if isinstance(text, str) else text
        head = b"U" + bytes([len(content)]) if len(content) < 256 else b"T" + struct.pack("<I", len(content))
        self.write(head + content)
        self.memoize(text)

    dispatch = pickle._Pickler.dispatch | {bytes: save_string, str: save_string}


def write_pickle(path, table):
    """A table as Python 2 pickled it, with an old numpy."""
    with path.open("wb") as file:
        Python2(file, protocol=2).dump(table)
    content = path.read_bytes().replace(b"cnumpy._core.", b"cnumpy.core.")
    path.write_bytes(content)
    return path


def write_batches(folder, pixels, labels, classes=CLASSES, part="train"):
    """The published batches of 32 x 32 pictures: five for training, one for testing."""
    folder.mkdir(exist_ok=True)
    names = [f"data_batch_{number}" for number in range(1, 6)] if part == "train" else ["test_batch"]
    parts = [np.array_split(each, len(names)) for each in (pixels, np.asarray(labels))]
    for name, some, marks in zip(names, *parts, strict=True):
        table = {
            "batch_label": f"part {name}",
            "labels": marks.tolist(),
            "data": np.ascontiguousarray(some.transpose(0, 3, 1, 2)).reshape(len(some), -1),
            "filenames": [f"{name}_{number:06}.png" for number in range(len(some))],
        }
        write_pickle(folder / name, table)
    write_pickle(folder / "batches.meta", {"num_cases_per_batch": len(pixels), "label_names": list(classes)})
    return folder


def write_folders(root, pixels, labels, classes=CLASSES, ending=".png"):
    """A folder of files for each class; the name of a file is the number of its picture."""
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        folder = root / classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number:05}{ending}"), picture[..., ::-1])
    return root


RECIPE = """
name = "classes"
question = "Are classes learned?"
seed = 3
[network]
resnet = {depth}
[images]
train = "{train}"
test = "{test}"
side = {side}
[schedule]
steps = 4
batch = 4
precision = "float32"
average = 0.5
learning_rate = 0.05
momentum = 0.9
"""
