"""Writes small Excel files without a library that could."""

import zipfile


def write_sheets(path, **sheets):
    """Write an Excel file of rows of numbers and texts."""
    names = [*sheets]
    cells = {
        name: "".join(
            "<row>"
            + "".join(
                f"<c><v>{v}</v></c>"
                if isinstance(v, int | float)
                else f'<c t="inlineStr"><is><t>{v}</t></is></c>'
                for v in row
            )
            + "</row>"
            for row in rows
        )
        for name, rows in sheets.items()
    }
    office = "http://schemas.openxmlformats.org"
    listed = "".join(
        f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(names, 1)
    )
    kind = f"{office}/officeDocument/2006/relationships"
    links = "".join(
        f'<Relationship Id="r{n}" Type="{kind}/worksheet" Target="worksheets/s{n}.xml"/>'
        for n in range(1, len(names) + 1)
    )
    package = f"{office}/package/2006"
    with zipfile.ZipFile(path, "w") as book:
        book.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="xml" '
            'ContentType="application/xml"/></Types>',
        )
        book.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r0" '
            f'Type="{kind}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        book.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{office}/spreadsheetml/2006/main" xmlns:r="{kind}"><sheets>'
            f"{listed}</sheets></workbook>",
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}/relationships">{links}</Relationships>',
        )
        for n, name in enumerate(names, 1):
            book.writestr(
                f"xl/worksheets/s{n}.xml",
                f'<worksheet xmlns="{office}/spreadsheetml/2006/main"><sheetData>{cells[name]}'
                "</sheetData></worksheet>",
            )
