"""What a run left in a folder, for tests that compare two runs byte by byte."""

from taran_eo.journal import NAME


def outputs(folder):
    """Bytes of every file by its path in the folder, without the journal, which holds times of files."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != NAME
    }
