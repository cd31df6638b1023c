"""Pairs of lessons for tests: which say the same, and which do not."""

SAME = (
    ("Round only the final answer to two decimals.", "Round only the final answer to 2 decimals"),
    (
        "Always convert percentages to decimals before multiplying.",
        "Convert percentages to decimals before you multiply.",
    ),
    (
        "When computing NPV, discount each cash flow by its own period.",
        "When you compute NPV, discount every cash flow by its own period.",
    ),
    (
        "Check the units of every input before applying a formula.",
        "Check units of all inputs before applying the formula.",
    ),
    (
        "Never round intermediate values; keep full precision until the end.",
        "Do not round intermediate values, keep full precision until the end.",
    ),
    (
        "Use the effective annual rate when compounding is monthly.",
        "When compounding is monthly, use the effective annual rate.",
    ),
    (
        "Tag the coupon of a bond as DebtInstrumentInterestRateStatedPercentage.",
        "Tag a bond's coupon as DebtInstrumentInterestRateStatedPercentage.",
    ),
    (
        "Leap years have 366 days, so count February 29 when the range includes it.",
        "A leap year has 366 days, so count February 29 if the range includes it.",
    ),
    (
        "Return the number without any currency symbol or thousands separator.",
        "Return the number without any currency symbols or thousands seperators.",
    ),
    (
        "Divide the annual rate by 12 to get the monthly rate.",
        "To get the monthly rate, divide the annual rate by 12.",
    ),
    (
        "Subtract the opening balance from the closing balance.",
        "Subtract opening balance from closing balance",
    ),
    ("Verify the sign of the result: losses are negative.", "Verify the result's sign; losses are negative."),
    (
        "The tariff's surcharge applies to parcels heavier than 20 kg.",
        "The surcharge of the tariff applies to parcels heavier than 20 kilograms.",
    ),
)

OTHER_WORDS = (
    ("Use simple interest unless the question says otherwise.",
     "Use simple interest unless the question states otherwise."),
    ("Check the units of every input before applying a formula.",
     "Check the units of all inputs before using the formula."),
    ("Compute the tax on the net price.", "Calculate the tax on the net price."),
    ("Look for the reporting period in the header of the table.",
     "The reporting period can be found in the table's header."),
    ("Round only the final answer.", "Keep full precision until the end and round just once."),
    ("Show the calculation step by step.", "Write down each step of the computation."),
)  # fmt: skip
"""Say the same in other words."""

DIFFERENT = (
    ("Round the final answer to two decimals.", "Round the final answer to three decimals."),
    ("Divide by 12 to get the monthly rate.", "Divide by 4 to get the quarterly rate."),
    ("Round intermediate values.", "Do not round intermediate values."),
    ("Divide revenue by cost of goods sold to get the turnover.",
     "Divide cost of goods sold by revenue to get the turnover."),
    ("Subtract the opening balance from the closing balance.",
     "Subtract the closing balance from the opening balance."),
    ("Round up at the end of the calculation.", "Round down at the end of the calculation."),
    ("Use FIFO for the cost of the inventory that was sold.",
     "Use LIFO for the cost of the inventory that was sold."),
    ("Tag the amount as DebtInstrumentFaceAmount.", "Tag the amount as DebtInstrumentCarryingAmount."),
    ("Distances are in kilometres unless the question says otherwise.",
     "Distances are in miles unless the question says otherwise."),
    ("Convert percentages to decimals before multiplying.",
     "Convert percentages to decimals after multiplying."),
    ("The surcharge applies to parcels heavier than 20 kg.",
     "The surcharge applies to parcels heavier than 20 lb."),
    ("Include the last day when counting days.", "Exclude the last day when counting days."),
    ("Use the annual rate.", "Use the monthly rate."),
    ("Net income is revenue minus all expenses including tax.",
     "Gross profit is revenue minus cost of goods sold."),
    ("The current ratio is current assets divided by current liabilities.",
     "The quick ratio is liquid assets divided by current liabilities."),
    ("Express parcels are delivered on working days.", "Standard parcels are delivered on working days."),
    ("Goods from zone A travel free of charge.", "Goods from zone B travel free of charge."),
    ("Check the units of every input before applying a formula.",
     "Check the sign of every output after applying a formula."),
    ("Return on equity is net income divided by shareholders' equity.",
     "Return on assets is net income divided by total assets."),
    ("Use simple interest unless the question says otherwise.",
     "Use simple interest if the question says so."),
    ("The bond's price falls when the yield rises.", "The bond's price rises when the yield falls."),
    ("Students get the reduced fare on trains when they show their card at the counter.",
     "Seniors get the reduced fare on trains when they show their card at the counter."),
    ("Operating lease cost goes under rent expense.", "Finance lease cost goes under rent expense."),
    ("The dividend yield is dividends per share over the share price.",
     "The earnings yield is earnings per share over the share price."),
)  # fmt: skip
