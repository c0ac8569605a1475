"""Who is in an image, as far as its header says: what metrics are split by beside the sub-class."""

import pandas as pd

SUBGROUPS = ("sex", "age_band", "view")
"""Columns of the predictions: F | M, a band of AGE_BANDS, PA | AP | LATERAL; empty where it is not known."""

AGE_BANDS = {17: "0-17", 39: "18-39", 59: "40-59", 79: "60-79"}
"""By the last year of each; whoever is older is in OLDEST."""
OLDEST = "80 and over"

UNKNOWN = "unknown"


def subgroups_of(index: pd.DataFrame) -> pd.DataFrame:
    """The columns SUBGROUPS of rows of the index; of the age no more than the band goes on from here."""
    return index[["sex", "view"]].assign(age_band=index["age"].map(age_band))[list(SUBGROUPS)]


def age_band(years: str) -> str:
    """Band of an age in whole years; empty for an empty one.

    >>> [age_band(years) for years in ("0", "17", "18", "80", "")]
    ['0-17', '0-17', '18-39', '80 and over', '']
    """
    if not years:
        return ""
    return next((band for last, band in AGE_BANDS.items() if int(years) <= last), OLDEST)
