"""Pictures of classes: three forms hold the same pictures, and what is damaged or odd is told by name."""

import os
import pickle
import shutil

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taran_eo.errors import ConfigError, ContractError, CorruptDataError, ImageryError, TaranError
from taran_eo.train import classes
from taran_eo.train.classes import SmallPictures, class_names, read_classes
from tests.train.classified import CLASSES, labels_of, smooth, write_batches, write_folders, write_jpegs, write_pickle


def test_the_three_forms_hold_the_same_pictures(tmp_path):
    files, pixels = smooth(25)
    labels = labels_of(25)
    jpegs = read_classes(write_jpegs(tmp_path / "a.npz", files, labels), "train", 32)
    batches = read_classes(write_batches(tmp_path / "cifar-10-batches-py", pixels, labels), "train", 32)
    for found in (jpegs, batches):
        assert found.classes == CLASSES and found.labels.dtype == np.int64
        assert np.array_equal(found.labels, labels) and np.array_equal(found.pixels, pixels)
        assert np.array_equal(found.crops([3, 0], None), pixels[[3, 0]])
    # Of files the middle is served: at 28 of 32 rows and columns nothing is scaled.
    folders = read_classes(write_folders(tmp_path / "files", pixels, labels), "train", 28)
    order = [int(path.stem) for path in folders.paths]
    assert folders.classes == CLASSES and sorted(order) == list(range(25))
    assert np.array_equal(folders.labels, labels[order])
    assert np.array_equal(folders.crops(range(25), None), pixels[order][:, 2:30, 2:30])
    # A JPEG in a folder is what it is in an .npz.
    (tmp_path / "jpegs" / "sea").mkdir(parents=True)
    (tmp_path / "jpegs" / "sea" / "7.JPEG").write_bytes(files[7])
    assert np.array_equal(read_classes(tmp_path / "jpegs", "test", 28).crops([0], None)[0], pixels[7, 2:30, 2:30])


def test_names_of_classes_are_read_without_the_pictures(tmp_path):
    files, pixels = smooth(10)
    labels, names = labels_of(10), ("Ölhafen", "море", "a b")  # in another order than folders are sorted in
    places = [
        write_jpegs(tmp_path / "a.npz", files, labels, names),
        write_folders(tmp_path / "files", pixels, labels, names),
    ]
    assert [class_names(place, "train") for place in places] == [names, tuple(sorted(names))]
    write_batches(tmp_path / "b", pixels, labels, part="test")
    assert class_names(tmp_path / "b", "test") == class_names(tmp_path / "b", "train") == CLASSES


def test_batches_are_read_as_python_reads_them(tmp_path):
    _, pixels = smooth(5)
    folder = write_batches(tmp_path / "b", pixels, labels_of(5), part="test")
    content = (folder / "test_batch").read_bytes()
    assert content.startswith(b"\x80\x02}") and b"U\x06labels" in content and b"cnumpy.core.multiarray\n" in content
    held = pickle.loads(content, encoding="bytes")  # noqa: S301 - made above
    assert np.array_equal(held[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), pixels)
    assert np.array_equal(read_classes(folder, "test", 32).pixels, pixels)


class Calling:
    """A pickle of it makes a folder when it is opened."""

    def __init__(self, call, *arguments):
        self.called = call, arguments

    def __reduce__(self):
        return self.called


@pytest.mark.parametrize("place", ["in the table", "as the array", "instead of a table"])
def test_a_pickle_that_calls_something_else_is_refused_and_not_executed(tmp_path, place):
    _, pixels = smooth(5)
    folder, mark = write_batches(tmp_path / "b", pixels, labels_of(5), part="test"), tmp_path / "executed"
    call = Calling(os.mkdir, str(mark))
    tables = {
        "in the table": {"labels": [0] * 5, "data": pixels.reshape(5, -1), "more": call},
        "as the array": {"labels": [0] * 5, "data": call},
        "instead of a table": call,
    }
    write_pickle(folder / "test_batch", tables[place])
    with pytest.raises(CorruptDataError, match=r"b/test_batch is damaged.*asks for posix\.mkdir"):
        read_classes(folder, "test", 32)
    assert not mark.exists()
    pickle.loads((folder / "test_batch").read_bytes(), encoding="bytes")  # noqa: S301 - it would have done so
    assert mark.exists()


@pytest.mark.parametrize("call", [np.load, eval, getattr, pickle.loads, __import__])
def test_nothing_but_arrays_can_be_asked_for(tmp_path, call):
    write_batches(tmp_path, smooth(5)[1], labels_of(5), part="test")
    write_pickle(tmp_path / "batches.meta", {"label_names": ["a"], "more": Calling(call, "x")})
    with pytest.raises(CorruptDataError, match=r"batches\.meta is damaged.*it asks for"):
        class_names(tmp_path, "test")


def test_a_batch_that_counts_more_objects_than_it_has_bytes_takes_no_memory(tmp_path):
    folder = write_batches(tmp_path / "b", smooth(5)[1], labels_of(5), part="test")
    (folder / "test_batch").write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")
    with pytest.raises(CorruptDataError, match="more objects than it has bytes"):
        read_classes(folder, "test", 32)


def refused(path, said, kind=CorruptDataError, part="train", side=32):
    with pytest.raises(kind, match=said) as told:
        read_classes(path, part, side)
    assert isinstance(told.value, TaranError)


def test_an_npz_whose_parts_do_not_fit_is_damaged(tmp_path):
    files, _ = smooth(4)
    sizes = np.cumsum([0, *(len(file) - files[0].index(b"\xff\xda") for file in files)])  # not those of the bodies
    bodies = np.load(write_jpegs(tmp_path / "whole.npz", files, labels_of(4)))["offsets"]
    path = tmp_path / "a.npz"

    def odd(said, **other):
        write_jpegs(path, files, labels_of(4))
        with np.load(path) as held:
            np.savez(path, **(dict(held) | other))
        refused(path, rf"a\.npz is damaged.*{said}")

    odd("offsets do not rise", offsets=sizes)
    odd("offsets do not rise", offsets=bodies[[0, 2, 1, 3, 4]])
    odd("offsets do not rise", offsets=bodies * [-1, 1, 1, 1, 1] + [-9, 0, 0, 0, 0])
    odd("offsets do not rise", offsets=bodies[:1])
    odd("4 pictures have labels", labels=np.zeros(3, np.uint8))
    odd("4 pictures have labels", labels=np.zeros((4, 1), np.uint8))
    odd("4 pictures have labels float64", labels=np.zeros(4))
    odd("labels from 0 to 3 of 3 classes", labels=np.arange(4))
    odd("labels from -1 to 2 of 3 classes", labels=np.arange(-1, 3))
    odd("labels from 0 to 2 of 2 classes", classes=np.array(CLASSES[:2]))
    odd("no names", classes=np.arange(3))
    odd("Object arrays cannot be loaded", labels=np.array([0, 1, 2, None], object))
    odd("Object arrays cannot be loaded", classes=np.array(["a", "b", Calling(os.mkdir, "x")], object))
    odd("ValueError", header=np.zeros(600, np.uint8))
    odd("ValueError", body=np.zeros(bodies[-1], np.uint8))
    wide = simplejpeg.encode_jpeg(np.zeros((32, 40, 3), np.uint8), 75)
    refused(write_jpegs(path, [wide] * 4, labels_of(4)), "pictures have 32 x 40 pixels")
    np.savez(path, header=np.zeros(3))
    refused(path, r"a\.npz is damaged.*body")
    refused(write_jpegs(path, smooth(4, side=48)[0], labels_of(4)), "48 rows and columns, not 32", ConfigError)


@pytest.mark.parametrize(
    "content", [b"", b"no archive", b"PK\x03\x04 the head of one", b"\x93NUMPY\x01\x00", b"\x80\x02}."]
)
def test_what_is_no_npz_is_told(tmp_path, content):
    path = tmp_path / "cifar.npz"
    path.write_bytes(content)
    refused(path, r"cifar\.npz is damaged, cut short or missing \(ValueError: it is no whole \.npz\)")
    with pytest.raises(CorruptDataError, match="no whole"):
        class_names(path, "train")


def test_batches_whose_parts_do_not_fit_are_damaged(tmp_path):
    _, pixels = smooth(10)
    flat = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(10, -1)
    folder, labels = tmp_path / "b", labels_of(10).tolist()

    def odd(said, table, name="data_batch_3"):
        write_batches(folder, pixels, labels)
        write_pickle(folder / name, table)
        refused(folder, rf"b/{name} is damaged.*{said}")

    odd("labels", {"data": flat})
    odd("data", {"labels": labels})
    odd("10 pictures have labels int64", {"data": flat, "labels": labels[:9]})
    odd("10 pictures have labels float64", {"data": flat, "labels": [0.5] * 10})
    odd("10 pictures have labels", {"data": flat, "labels": ["a"] * 10})
    odd("labels from 0 to 3 of 3", {"data": flat, "labels": [*labels[:9], 3]})
    odd("labels from -1 to 2 of 3", {"data": flat, "labels": [-1, *labels[1:]]})
    odd("no bytes in rows", {"data": flat.astype(np.int16), "labels": labels})
    odd("no bytes in rows", {"data": np.asfortranarray(flat), "labels": labels})
    odd("cannot reshape", {"data": flat[:, :3000], "labels": labels})
    odd("AttributeError", {"data": flat.tolist(), "labels": labels})
    odd("no table but list", [1, 2])
    odd("label_names", {}, "batches.meta")
    odd("AttributeError", {"label_names": [1, 2, 3]}, "batches.meta")
    odd("UnicodeDecodeError", {"label_names": [b"\xff", b"a", b"b"]}, "batches.meta")
    write_batches(folder, pixels, labels, CLASSES[:2])
    refused(folder, r"data_batch_\d is damaged.*of 2 classes")
    for name in ("data_batch_4", "batches.meta"):
        write_batches(folder, pixels, labels)
        (folder / name).unlink()
        refused(folder, rf"b/{name} is damaged, cut short or missing \(FileNotFoundError")
    refused(write_batches(tmp_path / "c", pixels, labels), "have 32 rows and columns, not 64", ConfigError, side=64)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Each form, and the file in it that is damaged."""
    folder = tmp_path_factory.mktemp("whole")
    files, pixels = smooth(6, side=32)
    labels = labels_of(6)
    shrunken = write_jpegs(folder / "stored.npz", files, labels)
    with np.load(shrunken) as held:
        np.savez_compressed(folder / "deflated.npz", **held)
    batches = write_batches(folder / "batches", pixels, labels, part="test")
    png, jpeg = (write_folders(folder / ending, pixels[:1], [0], ending=f".{ending}") for ending in ("png", "jpg"))
    return {
        "stored": (shrunken, shrunken),
        "deflated": (folder / "deflated.npz", folder / "deflated.npz"),
        "batch": (batches, batches / "test_batch"),
        "meta": (batches, batches / "batches.meta"),
        "png": (png, png / "airplane" / "00000.png"),
        "jpg": (jpeg, jpeg / "airplane" / "00000.jpg"),
    }


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("form", ["stored", "deflated", "batch", "meta", "png", "jpg"])
def test_a_damaged_file_is_named_and_one_cut_short_keeps_all_its_pixels_or_is(whole, form, data):
    root, path = whole[form]
    content, true = path.read_bytes(), read_classes(root, "test", 32).crops([0], None)
    cut = data.draw(st.booleans())
    if cut:
        spoilt = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
        spoilt = content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
    try:
        path.write_bytes(spoilt)
        found = read_classes(root, "test", 32).crops([0], None)
        assert found.shape == true.shape and (not cut or np.array_equal(found, true))
    except (ConfigError, CorruptDataError, ImageryError, ContractError) as error:
        assert path.name in str(error) or root.name in str(error)
    finally:
        path.write_bytes(content)


def test_odd_pictures_are_read_as_people_see_them(tmp_path):
    _, pixels = smooth(1, side=64)
    colour, folder = pixels[0], tmp_path / "root" / "class"
    folder.mkdir(parents=True)
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)
    twice = np.repeat(grey[..., None], 3, axis=2)
    opaque = np.dstack([colour[..., ::-1], np.full((64, 64), 255, np.uint8)])
    cv2.imwrite(str(folder / "a grey.png"), grey)
    (folder / "b grey.jpg").write_bytes(simplejpeg.encode_jpeg(grey[..., None], 95, colorspace="GRAY"))
    cv2.imwrite(str(folder / "c opaque.png"), opaque)
    (folder / "d png.jpeg").write_bytes((folder / "c opaque.png").read_bytes())  # ImageNet holds one
    cv2.imwrite(str(folder / "e 16 bit.png"), colour[..., ::-1].astype(np.uint16) * 257)
    inks = np.dstack([255 - colour, np.zeros((64, 64), np.uint8)])
    (folder / "f ink.jpg").write_bytes(simplejpeg.encode_jpeg(255 - inks, 95, colorspace="CMYK"))
    cv2.imwrite(str(folder / "g море.tif"), colour[..., ::-1])
    found = read_classes(tmp_path / "root", "train", 56)
    crops = found.crops(range(7), None).astype(int)
    true = np.stack([twice, twice, *[colour] * 5])[:, 4:60, 4:60]
    off = np.abs(crops - true).max(axis=(1, 2, 3))
    assert off[0] == off[2] == off[3] == off[6] == 0 and max(off[1], off[5]) <= 12
    # 16 bits are stretched to 8 as those of a scene are, from the darkest to the brightest.
    assert np.corrcoef(crops[4].ravel(), colour[4:60, 4:60].ravel())[0, 1] > 0.95


def test_what_is_hidden_or_no_picture_is_no_picture(tmp_path):
    _, pixels = smooth(6)
    root = write_folders(tmp_path / "root", pixels, labels_of(6))
    shutil.copytree(root / "bird", root / ".checkpoints")
    for name in (".DS_Store", "._00002.png", "notes.txt", "Thumbs.db"):
        (root / "bird" / name).write_bytes(b"no picture")
    (root / "readme.txt").write_text("no class")
    found = read_classes(root, "train", 28)
    assert found.classes == CLASSES and len(found.paths) == len(found.labels) == 6


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0 the head of one"]
)
@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_a_file_that_is_no_picture_is_named_when_it_is_its_turn(tmp_path, content, name):
    root = write_folders(tmp_path / "root", smooth(3)[1], labels_of(3))
    (root / "bird" / name).write_bytes(content)
    found = read_classes(root, "train", 28)
    with pytest.raises(ImageryError, match=rf"bird/x\.{name[2:]}"):
        found.crops(range(4), None)
    (root / "bird" / name).unlink()
    with pytest.raises(ImageryError, match=rf"bird/x\.{name[2:]} cannot be read"):
        found.crops(range(4), None)
    (root / "bird" / name).mkdir()
    with pytest.raises(ImageryError, match="no regular file"):
        found.crops(range(4), None)


def test_what_holds_no_classes_is_refused(tmp_path):
    refused(tmp_path / "absent.npz", "No pictures are at .*absent.npz", ConfigError)
    (tmp_path / "train" / "bird").mkdir(parents=True)
    refused(tmp_path / "train", "neither the batches of CIFAR-10 nor a folder of pictures for each class", ConfigError)
    write_folders(tmp_path / "train", smooth(3)[1], labels_of(3))
    refused(tmp_path, "neither the batches", ConfigError)  # one level too high


def padded(picture, pad):
    return np.pad(picture, [(pad, pad), (pad, pad), (0, 0)], mode="reflect")


@pytest.mark.parametrize("side", [8, 32])
def test_a_training_crop_is_the_picture_moved_and_mirrored(side):
    pixels = np.random.default_rng(0).integers(0, 256, (5, side, side, 3), dtype=np.uint8)
    found, pad = SmallPictures(pixels, np.zeros(5, np.int64), ("one",)), side // 8
    seen = {}
    for picture in range(5):
        wide = padded(pixels[picture], pad)
        for row in range(2 * pad + 1):
            for col in range(2 * pad + 1):
                part = wide[row : row + side, col : col + side]
                seen[part.tobytes()] = (picture, row, col, False)
                seen[part[:, ::-1].tobytes()] = (picture, row, col, True)
    numbers = np.random.default_rng(1).integers(0, 5, 4000)
    crops = found.crops(numbers, np.random.default_rng(2))
    moves = [seen[crop.tobytes()] for crop in crops]  # a KeyError is a crop that is none of them
    assert [move[0] for move in moves] == numbers.tolist()
    assert {move[1:] for move in moves} == {move[1:] for move in seen.values()}
    assert 0.45 < np.mean([move[3] for move in moves]) < 0.55
    assert np.array_equal(found.crops(numbers, np.random.default_rng(2)), crops)


def test_a_training_crop_of_a_file_is_a_part_of_it(tmp_path):
    """Red tells the row and green the column, so that a crop tells where it was cut."""
    rows, cols = np.mgrid[:250, :200]
    picture = np.stack([rows, cols, np.full_like(rows, 7)], axis=-1).astype(np.uint8)
    found = read_classes(write_folders(tmp_path / "r", [picture], [0]), "train", 64)
    rng, told = np.random.default_rng(0), []
    for _ in range(300):
        crop = found.crops([0], rng)[0].astype(int)
        assert (crop[..., 2] == 7).all() and np.ptp(crop[..., 0], axis=1).max() <= 1
        assert np.ptp(crop[..., 1], axis=0).max() <= 1
        down, across = np.diff(crop[:, 0, 0]), np.diff(crop[0, :, 1])
        assert (down >= 0).all() and ((across >= 0).all() or (across <= 0).all())
        told.append((crop[-1, 0, 0] - crop[0, 0, 0], abs(crop[0, -1, 1] - crop[0, 0, 1]), across.sum() < 0))
    height, width, mirrored = np.array(told, float).T
    # The outermost rows are means of a few pixels, so that the span is a little short of the side.
    area, ratio = (height + 3) * (width + 3) / (250 * 200), (width + 3) / (height + 3)
    assert 0.23 < area.min() < 0.3 and 0.8 < area.max() < 1.05
    assert 0.7 < ratio.min() < 0.8 and 1.2 < ratio.max() < 1.42 and 0.4 < mirrored.mean() < 0.6
    middle = found.crops([0], None)[0].astype(int)
    assert middle[0, 0, 0] in range(37, 41) and middle[-1, 0, 0] in range(
        209, 213
    )  # 175 of 250 rows, 175 of 200 columns
    assert middle[0, 0, 1] in range(12, 16) and middle[0, -1, 1] in range(184, 188)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 80), st.none() | st.integers(0, 2**32))
def test_a_picture_of_any_size_gives_a_crop(rows, cols, side, seed):
    picture = np.random.default_rng(0).integers(50, 200, (rows, cols, 3), dtype=np.uint8)
    crop = classes._crop(picture, side, None if seed is None else np.random.default_rng(seed))
    assert crop.shape == (side, side, 3) and crop.dtype == np.uint8
    assert picture.min() <= crop.min() and crop.max() <= picture.max()


def test_the_copies_of_cifar_10_are_complete_and_balanced(shared_data):
    for part, count in (("train", 50_000), ("test", 10_000)):
        path = shared_data / "cifar10" / f"cifar10_{part}_jpeg.npz"
        found = read_classes(path, part, 32)
        assert found.pixels.shape == (count, 32, 32, 3) and found.classes == class_names(path, part)
        assert np.bincount(found.labels).tolist() == [count // 10] * 10
        assert found.classes == (*CLASSES, "cat", "deer", "dog", "frog", "horse", "ship", "truck")
        assert found.pixels.mean(axis=(0, 1, 2)) == pytest.approx(
            [125.3, 122.95, 113.87], abs=2
        )  # of the published ones
